"""`jaxrecon dataset <verb>` and `jaxrecon judge`: labelled structures, made and looked at."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from jaxrecon.cli import options
from jaxrecon.cli.options import Bulk, Calculator, Force, Jobs, Kept, Quiet, Resume, Seed, reporting
from jaxrecon.cli.verbs import Report, Verbs

if TYPE_CHECKING:
    import numpy as np

    from jaxrecon.datasets.labelled import LabelledSet

WIDTH = 88
JUDGE_EXAMPLES = """\b
Examples:
  jaxrecon judge found.extxyz --calculator emt -o judged.extxyz
  jaxrecon judge found.extxyz --calculator gpaw -o judged.extxyz --jobs 8 --resume"""

app = Verbs(
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
        options.output(
            "OUT.extxyz",
            "The same structures with energy, forces and e_form; OUT.json has the details.",
        ),
    ],
    calculator: Calculator = "emt",
    bulk: Bulk = None,
    jobs: Jobs = None,
    store: Kept = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Compute energies of structures as they are, and of formation in eV/atom.

    E_form = (E - sum of the bulk energies of the atoms) / N, with bulk crystals by the same
    calculator. A structure at which it fails is kept without an energy, with the `reason`.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.potentials import judge as judging
    from jaxrecon.potentials.labels import LabelStore
    from jaxrecon.runtime.files import write_json
    from jaxrecon.structures.io import check_format, read_structures, write_structures

    details = options.details_of(output)
    frames, references = read_structures(structures), arguments.energies_of(bulk)
    kept = options.opened(LabelStore, output, details, store=store, resume=resume, force=force)
    check_format(output, frames)
    with reporting(kept, len(frames), judging.WORDS, quiet) as progress:
        found = judging.judge(
            frames, calculator, bulk=references, jobs=jobs, store=kept, progress=progress
        )
    write_structures(output, found.structures)
    write_json(details, {"structures": str(structures), **found.metadata})
    failures = [
        f"structure {number} has no energy: {reason}" for number, reason in found.failures.items()
    ]
    return Report(
        "\n".join([*failures, f"{output}: {found}"]),
        {"structures": len(found), **found.metadata},
        [output, details],
    )


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
        options.output("OUT.npz|OUT.extxyz", "Set to write: compact, or for other programs."),
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
) -> Report:
    """Make clusters, from compact to dissociated, with energies and forces.

    Random clusters are relaxed, their minima kept with structures on the way there, and perturbed
    copies of the lowest computed as well, all with the number of their trajectory. A relaxation
    that fails is counted and skipped. The set is the same whatever the processes and
    interruptions.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.datasets import build as building
    from jaxrecon.datasets.io import write_labelled
    from jaxrecon.potentials.labels import LabelStore

    if output.suffix not in {".npz", ".extxyz"}:
        raise ValueError(f"expected an output ending in .npz or .extxyz, got {output}")
    references = arguments.energies_of(bulk)
    kept = options.opened(LabelStore, output, store=store, resume=resume, force=force)
    options.start_jax()
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
    write_labelled(output, found)
    failures = found.metadata["failures"]
    lines = [f"{name} has failed: {reason}" for name, reason in failures.items()]
    if len(found) < size:
        lines.append(f"no more than {len(found)} different structures have turned up of {size}")
    return _report(found, output, [output], lines, more={"failures": failures})


@app.command(
    epilog="""\b
Example:
  jaxrecon dataset info pt10"""
)
def info(file: File) -> Report:
    """Say what is in a set: structures, energies, and how it was made."""
    from jaxrecon.datasets.io import read_labelled

    labelled = read_labelled(file)
    columns = {name: _column(values) for name, values in labelled.columns.items()}
    lines = [f"  {name}: {column}" for name, column in columns.items()]
    lines += [f"  {name}: {_short(value)}" for name, value in labelled.metadata.items()]
    more = {"columns": columns, "metadata": labelled.metadata}
    return _report(labelled, file, after=lines, more=more)


@app.command(
    epilog="""\b
Example:
  jaxrecon dataset sample pt10 -n 300 -o pt10_300.extxyz"""
)
def sample(
    file: File,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="K", min=1, help="Structures to choose.")
    ],
    output: Annotated[
        Path,
        options.output("OUT.npz|OUT.extxyz", "Set to write."),
    ],
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="Parameters of the fingerprint to choose by.")
    ] = "default",
    force: Force = False,
) -> Report:
    """Choose structures that are spread out: each the furthest from those before it.

    By the distances of their fingerprints; the first is the one furthest from the mean.
    """
    from jaxrecon.datasets.io import read_labelled, write_labelled
    from jaxrecon.datasets.sampling import furthest_points
    from jaxrecon.descriptors.featurize import featurize
    from jaxrecon.descriptors.fingerprint import Fingerprint
    from jaxrecon.runtime.files import check_output
    from jaxrecon.structures.formulas import elements_of

    check_output(output, force)
    labelled = read_labelled(file)
    options.start_jax()
    values = labelled.fingerprints
    if labelled.structures is not None:
        fingerprint = Fingerprint.preset(preset, elements_of(labelled.structures))
        values = featurize(labelled.structures, fingerprint)
    assert values is not None, "a set has structures or fingerprints"
    chosen = labelled.select(furthest_points(values, count))
    write_labelled(output, chosen)
    return _report(chosen, output, [output])


def _report(
    labelled: "LabelledSet",
    path: Path,
    files: Sequence[Path] = (),
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    more: Mapping[str, object] = MappingProxyType({}),
) -> Report:
    """Number of structures of each kind and trajectories, and the range of the energies."""
    import numpy as np

    kinds = dict(sorted(Counter(labelled.kinds).items()))
    parts = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    trajectories = len(set(labelled.trajectories.tolist()))
    known = labelled.formation_energies[np.isfinite(labelled.formation_energies)]
    energies, spread = None, ""
    if len(known):
        low, middle, high = energies = np.percentile(known, [0, 50, 100]).tolist()
        spread = f", E_form {low:.3f} to {high:.3f} eV/atom, {middle:.3f} in the median"
    text = f"{path}: {len(labelled)} structures ({parts}) of {trajectories} trajectories{spread}"
    data = {"structures": len(labelled), "kinds": kinds, "trajectories": trajectories}
    data |= {"least_median_largest_e_form": energies, **more}
    return Report("\n".join([*before, text, *after]), data, files)


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
