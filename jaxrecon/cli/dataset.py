"""`jaxrecon dataset <verb>` and `jaxrecon judge`: labelled structures and reference energies."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxrecon.cli import options, presets
from jaxrecon.cli.options import (
    Bulk,
    Calculator,
    EnergyKey,
    Force,
    ForcesKey,
    Jobs,
    Quiet,
    Resume,
    Seed,
    SetBulk,
    Sets,
    StorePath,
    Structures,
    reporting,
)
from jaxrecon.cli.verbs import Report, Verbs
from jaxrecon.runtime.messages import LONGEST_LINE, shortened

WIDTH = 120
"""Largest number of characters of a name or value that `info` prints."""

JUDGE_EXAMPLES = """\b
Examples:
  jaxrecon judge found.extxyz --calculator emt -o judged.extxyz
  jaxrecon judge found.extxyz --calculator nequix:nequix-oam-1-pft.nqx -o judged.extxyz
  jaxrecon judge found.extxyz --calculator gpaw -o judged.extxyz --jobs 8 --resume"""


class Recipe(StrEnum):
    """How structures are made."""

    CLUSTERS = "clusters"
    QUENCH = "quench"
    RATTLE_RELAX = "rattle-relax"


app = Verbs(
    rich_markup_mode=None,
    help="Make, describe and sample labelled sets.",
    no_args_is_help=True,
)


def judge(
    structures: Structures,
    output: Annotated[
        Path,
        options.output(
            "OUT.extxyz",
            "The same structures with energy (eV), forces (eV/Angstrom), e_form (eV/atom) and, if "
            "the calculator has them, energies of the atoms (eV); OUT.json has the details.",
        ),
    ],
    calculator: Calculator = "emt",
    bulk: Bulk = None,
    jobs: Jobs = None,
    store: StorePath = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Compute energies with a reference calculator.

    The structures are not relaxed. Those that are periodic along all three axes are crystals, and
    those along none are free clusters, whatever their cell. The formation energy is E_form = (E -
    sum of the bulk energies of the atoms) / N in eV/atom, with bulk crystals of the same
    calculator or of --bulk, so that it compares with a `predicted` one if the model has learned
    from the same calculator. A slab or wire, and a structure for which the calculator fails, gets
    a `reason` instead of an energy.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.potentials import judge as judging
    from jaxrecon.potentials.labels import LabelStore
    from jaxrecon.potentials.registry import CALCULATORS
    from jaxrecon.runtime.files import write_json
    from jaxrecon.structures.io import check_format, read_structures, write_structures

    details = options.details_path(output)
    # Programs that share a GPU with others must not find it taken.
    kind = CALCULATORS.get(calculator.partition(":")[0])
    if getattr(kind, "many", False):
        options.start_jax()
    frames, references = read_structures(structures), arguments.parse_bulk_energies(bulk)
    labels = options.open_store(LabelStore, output, details, url=store, resume=resume, force=force)
    check_format(output, frames)
    with reporting(labels, len(frames), judging.WORDS, quiet) as progress:
        judged = judging.judge(
            frames, calculator, bulk=references, jobs=jobs, store=labels, progress=progress
        )
    write_structures(output, judged.structures)
    write_json(details, {"structures": [str(path) for path in structures], **judged.metadata})
    failures = [
        shortened(f"structure {number} has no energy: {reason}", LONGEST_LINE)
        for number, reason in judged.failures.items()
    ]
    return Report(
        "\n".join([*failures, f"{output}: {judged}"]),
        {"structures": len(judged), **judged.metadata},
        [output, details],
    )


@app.command(
    epilog="""\b
Examples:
  jaxrecon dataset build --symbols Pt10 --size 1000 -o pt10.npz
  jaxrecon dataset build --symbols Pt10 --size 10000 --calculator sevennet -o pt10.npz --jobs 8
  jaxrecon dataset build --symbols Pt10 --size 10000 --calculator sevennet -o pt10.npz --resume
  jaxrecon dataset build --recipe quench --symbols C64 --size 560 --calculator tersoff -o c64.npz"""
)
def build(
    size: Annotated[int, typer.Option(metavar="N", min=1, help="Number of structures to make.")],
    output: Annotated[
        Path,
        options.output(
            "OUT.npz|OUT.extxyz", "Set to write: .npz is compact, .extxyz is for other programs."
        ),
    ],
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="Pt10", help="Formula of the clusters, or of the cell.  [default: none]"
        ),
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Rattle-relax: structures to begin with.  [default: none]"
        ),
    ] = None,
    calculator: Calculator = "emt",
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="How structures are made: clusters by relaxations; with a calculator in JAX "
            "(tersoff or nequix), crystals by melting, quenching and annealing, or rattled and "
            "relaxed copies."
        ),
    ] = Recipe.CLUSTERS,
    seed: Seed = 0,
    perturbed: Annotated[
        float,
        typer.Option(
            help="Clusters: fraction of the set that is perturbed copies of low-energy structures."
        ),
    ] = 0.3,
    max_e_form: Annotated[
        float,
        typer.Option(
            help="Clusters: largest formation energy of a structure in the set, in eV/atom; "
            "compressed and dissociated ones, which have more, are left out."
        ),
    ] = 3.7,
    steps: Annotated[
        int, typer.Option(help="Clusters: largest number of steps of a relaxation.")
    ] = 200,
    density: Annotated[
        str, typer.Option(metavar="LOW-HIGH", help="Quench: range of densities in g/cm3.")
    ] = "1.0-3.5",
    anneal: Annotated[
        str,
        typer.Option(metavar="LOW-HIGH", help="Quench: range of temperatures of annealing in K."),
    ] = "2000-4000",
    interval: Annotated[
        int, typer.Option(min=1, help="Quench: steps of 1 fs from a snapshot to the next one.")
    ] = 250,
    bulk: Bulk = None,
    jobs: Jobs = None,
    store: StorePath = None,
    resume: Annotated[bool, options.resumption("--size", "--steps")] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Make structures with energies and forces: free clusters, or crystals out of a melt.

    Random clusters are relaxed. The set has their minima, structures on the way there, and
    perturbed copies of those with the lowest energies, each with the number of its trajectory. A
    relaxation that fails is reported and skipped. The result does not depend on the number of
    processes or on interruptions.

    With the recipe quench, random structures are melted at 9000 K, quenched, and annealed, each at
    a density and a temperature of its own. The set has snapshots with the energies of all atoms.
    With the recipe rattle-relax, given structures are rattled by 0.05 to 0.5 Angstrom, and relaxed
    for at most 20 steps.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.datasets import build as building
    from jaxrecon.datasets import summary
    from jaxrecon.datasets.io import write_labelled
    from jaxrecon.potentials.labels import LabelStore

    if output.suffix not in {".npz", ".extxyz"}:
        raise ValueError(f"expected an output ending in .npz or .extxyz, got {output}")
    if structures is None and recipe is Recipe.RATTLE_RELAX:
        raise ValueError("expected --structures for the recipe rattle-relax, got none")
    if symbols is None and recipe is not Recipe.RATTLE_RELAX:
        raise ValueError(f"expected --symbols for the recipe {recipe}, got none")
    references = arguments.parse_bulk_energies(bulk)
    labels = options.open_store(LabelStore, output, url=store, resume=resume, force=force)
    options.start_jax()
    common: dict[str, Any] = {"calculator": calculator, "seed": seed, "bulk": references}
    with reporting(labels, size, building.WORDS, quiet) as progress:
        common |= {"store": labels, "progress": progress}
        if recipe is Recipe.QUENCH:
            from jaxrecon.datasets.quench import Quenching, quench

            settings = Quenching(
                density=arguments.parse_range(density),
                anneal=arguments.parse_range(anneal),
                interval=interval,
            )
            labelled = quench(str(symbols), size, settings=settings, **common)
        elif recipe is Recipe.RATTLE_RELAX:
            from jaxrecon.datasets.rattle_relax import rattle_relax

            labelled = rattle_relax(str(structures), size, **common)
        else:
            labelled = building.build(
                str(symbols),
                size,
                perturbed=perturbed,
                max_e_form=max_e_form,
                steps=steps,
                jobs=jobs,
                **common,
            )
    write_labelled(output, labelled)
    failures = labelled.metadata.get("failures", {})
    lines = [
        shortened(f"{name} failed: {reason}", LONGEST_LINE) for name, reason in failures.items()
    ]
    if len(labelled) < size:
        lines.append(f"only {len(labelled)} of {size} different structures were found")
    lines.append(f"{output}: {summary.text(labelled)}")
    lines += options.repeated(labels, "pieces of work")
    payload = {**summary.summary(labelled), "failures": failures, "repeated": labels.repeated}
    return Report("\n".join(lines), payload, [output])


@app.command(
    epilog="""\b
Examples:
  jaxrecon dataset info pt10
  jaxrecon dataset info relaxations.extxyz --energy-key dft --bulk Pt=-5.83"""
)
def info(
    sets: Sets,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    bulk: SetBulk = None,
) -> Report:
    """Describe a set: its structures, energies and forces, and how it was made.

    The names that --energy-key and --forces-key may have are listed, each with the number of
    structures that have it. Further columns and settings follow as they are in the files; where
    jaxrecon wrote them, lengths are in Angstrom and energies in eV, those named e_form in eV/atom.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.datasets import summary
    from jaxrecon.datasets.io import read_with_keys

    references = arguments.parse_bulk_energies(bulk)
    labelled, keys = read_with_keys(
        sets, energy_key=energy_key, forces_key=forces_key, bulk=references
    )
    labels, columns = summary.labels(labelled, keys), summary.columns(labelled)
    lines = [f"{shortened(' '.join(sets), WIDTH)}: {summary.text(labelled)}"]
    for texts in (labels, columns, labelled.metadata):
        lines += [f"  {shortened(name, WIDTH)}: {_shorten(value)}" for name, value in texts.items()]
    payload = {
        **summary.summary(labelled),
        "labels": labels,
        "energy_keys": keys.energies,
        "forces_keys": keys.forces,
        "columns": columns,
        "metadata": labelled.metadata,
    }
    return Report("\n".join(lines), payload)


@app.command(
    epilog="""\b
Example:
  jaxrecon dataset sample pt10 -n 300 -o pt10_300.extxyz"""
)
def sample(
    sets: Sets,
    count: Annotated[
        int,
        typer.Option("--count", "-n", metavar="N", min=1, help="Number of structures to choose."),
    ],
    output: Annotated[Path, options.output("OUT.npz|OUT.extxyz", "Set to write.")],
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"Parameters of the fingerprint by which structures are chosen, {presets.LISTED}.",
        ),
    ] = "default",
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    bulk: SetBulk = None,
    force: Force = False,
) -> Report:
    """Choose structures that differ as much as possible, by furthest-point sampling.

    The first structure has the fingerprint furthest from the mean. Each further one has the
    fingerprint furthest from those of all chosen before.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.datasets import summary
    from jaxrecon.datasets.io import read_labelled, write_labelled
    from jaxrecon.datasets.sampling import furthest_points
    from jaxrecon.descriptors.featurize import featurize
    from jaxrecon.descriptors.fingerprint import Fingerprint
    from jaxrecon.runtime.files import check_output
    from jaxrecon.structures.formulas import elements_of

    check_output(output, force)
    references = arguments.parse_bulk_energies(bulk)
    labelled = read_labelled(sets, energy_key=energy_key, forces_key=forces_key, bulk=references)
    options.start_jax()
    values = labelled.fingerprints
    if labelled.structures is not None:
        fingerprint = Fingerprint.preset(preset, elements_of(labelled.structures))
        values = featurize(labelled.structures, fingerprint)
    assert values is not None, "a set has structures or fingerprints"
    chosen = labelled.select(furthest_points(values, count))
    write_labelled(output, chosen)
    return Report(f"{output}: {summary.text(chosen)}", summary.summary(chosen), [output])


def _shorten(value: object) -> str:
    """A value of the metadata in one line."""
    return shortened(value if isinstance(value, str) else json.dumps(value), WIDTH)
