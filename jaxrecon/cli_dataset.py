"""`jaxrecon dataset <verb>` and `jaxrecon judge`: labelled structures, made and looked at."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxrecon.options import (
    Bulk,
    Calculator,
    Force,
    Jobs,
    Quiet,
    Resume,
    Seed,
    energies_of,
    reporting,
    start_jax,
)

if TYPE_CHECKING:
    import numpy as np

    from jaxrecon.datasets.labelled import LabelledSet
    from jaxrecon.datasets.labels import LabelStore

WIDTH = 88
JUDGE_EXAMPLES = """\b
Examples:
  jaxrecon judge found.extxyz --calculator emt -o judged.extxyz
  jaxrecon judge found.extxyz --calculator gpaw -o judged.extxyz --jobs 8 --resume"""

app = typer.Typer(
    rich_markup_mode=None,
    help="Make structures with energies, look at them, choose among them.",
    no_args_is_help=True,
)

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="Set that `dataset build` wrote, or any format of labelled structures."
    ),
]
Kept = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FILE.db|URL",
        help="ASE database that has each piece as soon as it is done: a file, or "
        "postgresql://user:password@host/name.  [default: OUT.db]",
    ),
]


def judge(
    structures: Annotated[
        Path,
        typer.Argument(
            metavar="IN.extxyz",
            help="File in any format of ASE; all of its frames, in Angstrom. Those that repeat "
            "along all three axes are crystals, all others free clusters.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.extxyz",
            readable=False,
            help="The same structures with energy, forces and e_form; OUT.json has the details.",
        ),
    ],
    calculator: Calculator = "emt",
    bulk: Bulk = None,
    jobs: Jobs = None,
    store: Kept = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compute energies of structures as they are, and of formation in eV/atom.

    E_form = (E - sum of the bulk energies of the atoms) / N, with bulk crystals by the same
    calculator. A structure at which it fails is kept without an energy, with the `reason`.
    """
    from jaxrecon.datasets import io
    from jaxrecon.datasets import judge as judging

    details = output.with_suffix(".json")
    if details == output:
        raise ValueError(f"expected an output of structures, not .json, got {output}")
    frames, references = io.read_structures(structures), energies_of(bulk)
    kept = _store(output, details, store=store, resume=resume, force=force)
    io.check_format(output, frames)
    with reporting(kept, len(frames), judging.WORDS, quiet) as progress:
        found = judging.judge(
            frames, calculator, bulk=references, jobs=jobs, store=kept, progress=progress
        )
    io.write_structures(output, found.structures)
    io.write_json(details, {"structures": str(structures), **found.metadata})
    for number, reason in found.failures.items():
        print(f"structure {number} has no energy: {reason}")
    print(f"{output}: {found}")


@app.command(
    epilog="""\b
Examples:
  jaxrecon dataset build --symbols Pt10 --size 1000 -o pt10.npz
  jaxrecon dataset build --symbols Pt10 --size 10000 --calculator sevennet -o pt10.npz --jobs 8
  jaxrecon dataset build --symbols Pt10 --size 10000 --calculator sevennet -o pt10.npz --resume"""
)
def build(
    symbols: Annotated[
        str, typer.Option(metavar="Pt10", help="Formula of the clusters.", show_default=False)
    ],
    size: Annotated[int, typer.Option(metavar="N", min=1, help="Structures that are wanted.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.npz|OUT.extxyz",
            readable=False,
            help="Set to write: compact, or for other programs.",
        ),
    ],
    calculator: Calculator = "emt",
    seed: Seed = 0,
    perturbed: Annotated[
        float, typer.Option(help="Part of it that is perturbed copies of low-lying structures.")
    ] = 0.3,
    max_e_form: Annotated[
        float, typer.Option(help="Energy of formation up to which structures are kept, eV/atom.")
    ] = 3.7,
    steps: Annotated[int, typer.Option(help="Of a relaxation at most.")] = 200,
    bulk: Bulk = None,
    jobs: Jobs = None,
    store: Kept = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Make clusters, from compact to dissociated, with energies and forces.

    Random clusters are relaxed, their minima kept with structures on the way there, and perturbed
    copies of the lowest computed as well, all with the number of their trajectory. A relaxation
    that fails is counted and skipped. The set is the same whatever the processes and
    interruptions.
    """
    from jaxrecon.datasets import build as building

    if output.suffix not in {".npz", ".extxyz"}:
        raise ValueError(f"expected an output ending in .npz or .extxyz, got {output}")
    references = energies_of(bulk)
    kept = _store(output, store=store, resume=resume, force=force)
    start_jax()
    with reporting(kept, size, building.WORDS, quiet) as progress:
        found = building.build(
            symbols,
            size,
            calculator=calculator,
            seed=seed,
            perturbed=perturbed,
            max_e_form=max_e_form,
            steps=steps,
            bulk=references,
            jobs=jobs,
            store=kept,
            progress=progress,
        )
    found.write(output)
    for name, reason in found.metadata["failures"].items():
        print(f"{name} has failed: {reason}")
    if len(found) < size:
        print(f"no more than {len(found)} different structures have turned up of {size}")
    print(f"{output}: {_summary(found)}")


@app.command()
def info(file: File) -> None:
    """Say what is in a set: structures, energies, and how it was made."""
    from jaxrecon.datasets.readers import read_labelled

    labelled = read_labelled(file)
    print(f"{file}: {_summary(labelled)}")
    for name, values in labelled.columns.items():
        print(f"  {name}: {_column(values)}")
    for name, value in labelled.metadata.items():
        print(f"  {name}: {_short(value)}")


@app.command(
    epilog="""\b
Example:
  jaxrecon dataset sample pt10.npz -n 300 -o pt10_300.extxyz"""
)
def sample(
    file: File,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="K", min=1, help="Structures to choose.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.npz|OUT.extxyz", readable=False, help="Set to write."
        ),
    ],
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="Parameters of the fingerprint to choose by.")
    ] = "default",
    force: Force = False,
) -> None:
    """Choose structures that are spread out: each the furthest from those before it.

    By the distances of their fingerprints; the first is the one furthest from the mean.
    """
    from jaxrecon.batching import featurize
    from jaxrecon.compositions import elements_of
    from jaxrecon.datasets import io
    from jaxrecon.datasets.readers import read_labelled
    from jaxrecon.datasets.sampling import furthest_points
    from jaxrecon.fingerprint import Fingerprint

    io.check_output(output, force)
    labelled = read_labelled(file)
    start_jax()
    values = labelled.fingerprints
    if labelled.structures is not None:
        fingerprint = Fingerprint.preset(preset, elements_of(labelled.structures))
        values = featurize(labelled.structures, fingerprint)
    assert values is not None, "a set has structures or fingerprints"
    chosen = labelled.select(furthest_points(values, count))
    chosen.write(output)
    print(f"{output}: {_summary(chosen)}")


def _summary(labelled: "LabelledSet") -> str:
    """Number of structures of each kind and trajectories, and the range of the energies."""
    import numpy as np

    kinds = Counter(labelled.kinds)
    parts = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    trajectories = len(set(labelled.trajectories.tolist()))
    known = labelled.formation_energies[np.isfinite(labelled.formation_energies)]
    spread = ""
    if len(known):
        low, middle, high = np.percentile(known, [0, 50, 100])
        spread = f", E_form {low:.3f} to {high:.3f} eV/atom, {middle:.3f} in the median"
    return f"{len(labelled)} structures ({parts}) of {trajectories} trajectories{spread}"


def _column(values: "np.ndarray") -> str:
    import numpy as np

    if values.dtype.kind != "f":
        return f"{len(set(values.tolist()))} different values"
    known = values[np.isfinite(values)]
    spread = f", {known.min():.6g} to {known.max():.6g}" if len(known) else ""
    return f"{len(known)} numbers{spread}"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 4]} ..."


def _store(
    output: Path, *others: Path, store: str | None, resume: bool, force: bool
) -> "LabelStore":
    """The database of a run, after a look at whether its outputs can be written."""
    from jaxrecon.datasets import io
    from jaxrecon.datasets.labels import LabelStore

    kept = LabelStore(store or output.with_suffix(".db"), resume=resume, force=force)
    if os.path.realpath(str(kept)) == os.path.realpath(output):
        raise ValueError(f"expected an output beside the database, not in it, got {output}")
    for path in (output, *others):
        # Outputs without a database are not of a run that can be resumed.
        io.check_output(path, force or (resume and kept.begun))
    return kept
