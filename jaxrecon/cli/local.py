"""Models of local energies, compared: `jaxrecon evaluate learning-curve`, `pretrain` and `map`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jaxrecon.cli import options, presets
from jaxrecon.cli.verbs import Report

if TYPE_CHECKING:
    from ase import Atoms

    from jaxrecon.models.local.environments import Environments

LEARNING_CURVE, PRETRAIN, MAP = "learning-curve", "pretrain", "map"
"""The names of the two comparisons, and of the map of environments."""

Labelled = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Structures with total energies for pretrain, files or folders; may be repeated.",
    ),
]
Sizes = Annotated[
    list[int] | None,
    typer.Option(
        "--size",
        min=2,
        metavar="N",
        help="learning-curve: number of atoms to learn from; may be repeated  [default: 100 and "
        "1000]. pretrain: number of labelled structures; may be repeated  [default: 25, 50 and "
        "100]. map: largest number of atoms  [default: 30000].",
    ),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="NAME",
        help="learning-curve: linear, kernel, network or deep_kernel; may be repeated  [default: "
        "the last three]. map: network adds a map of the last hidden layer of a network that has "
        "learned the energies  [default: none].",
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"Fingerprint whose rows learning-curve, pretrain and map use, {presets.LISTED}.",
    ),
]
EnergiesKey = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the energies of the atoms in eV in the files.  [default: those of the "
        "calculator]",
    ),
]
EnergyKey = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the total energies in eV of the labelled structures; a name with per_atom "
        "stands for energies per atom.  [default: those of the calculator]",
    ),
]
TrajectoryKey = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Name of the trajectory in files whose energies are named: structures of one are in "
        "one fold. Labelled sets have their own.",
    ),
]
Points = Annotated[
    int,
    typer.Option(
        min=1, help="Number of representative points of a kernel, for learning-curve and pretrain."
    ),
]
Folds = Annotated[int, typer.Option(min=2, help="Number of folds for learning-curve and pretrain.")]


class Comparison(NamedTuple):
    """The options of a comparison.

    Attributes:
        labelled: files of structures with total energies.
        sizes: numbers of training examples; None for the default ones.
        kinds: names of models; None for the default ones.
        preset: preset of the fingerprint whose rows are learned from.
        energies_key: name of the energies of the atoms; None for those of the calculator.
        energy_key: name of the total energies; None for those of the calculator.
        trajectory_key: name of the trajectory.
        points: number of representative points of a kernel.
        folds: number of folds.
        seed: seed of all random numbers.
    """

    labelled: Sequence[Path]
    sizes: Sequence[int] | None
    kinds: Sequence[str] | None
    preset: str
    energies_key: str | None
    energy_key: str | None
    trajectory_key: str
    points: int
    folds: int
    seed: int


def compare(
    what: str,
    inputs: Sequence[Path],
    output: Path | None,
    chosen: Comparison,
    *,
    force: bool,
    resume: bool,
    quiet: bool,
) -> Report:
    """Compare models of local energies.

    Args:
        what: :data:`LEARNING_CURVE` or :data:`PRETRAIN`.
        inputs: files of structures with energies of their atoms.
        output: JSON file of all errors, written as they become known.
        chosen: the options.
        force: whether to replace the output.
        resume: whether to continue with the output of a run that was interrupted.
        quiet: whether to show no progress bar.

    Returns:
        The table of errors.
    """
    from jaxrecon.runtime.files import check_output

    if what == PRETRAIN and not chosen.labelled:
        raise ValueError("expected --labelled with structures and total energies, got none")
    if output is not None:
        check_output(output, force or resume, suffix=".json")
    options.start_jax()
    from jaxrecon.models.local import learning_curve as curves
    from jaxrecon.models.local.curve_store import stored

    # Before structures are read, and their rows computed.
    if output is not None and resume and output.exists():
        stored(output)
    from jaxrecon.models.local.config import LocalConfig

    config = LocalConfig(points=chosen.points, seed=chosen.seed)
    known = _environments(inputs, chosen, local=True)
    sizes = chosen.sizes or ((25, 50, 100) if what == PRETRAIN else (100, 1000))
    kinds = chosen.kinds or ("kernel", "network", "deep_kernel")
    count = chosen.folds * len(sizes) * (2 if what == PRETRAIN else len(kinds))
    with options.reporting(None, count, curves.WORDS, quiet) as progress:
        if what == PRETRAIN:
            found = curves.pretraining_curve(
                known,
                _environments(chosen.labelled, chosen, local=False),
                sizes=sizes,
                folds=chosen.folds,
                config=config,
                store=output,
                resume=resume,
                progress=progress,
            )
        else:
            found = curves.learning_curve(
                known,
                models=kinds,
                sizes=sizes,
                folds=chosen.folds,
                config=config,
                store=output,
                resume=resume,
                progress=progress,
            )
    table = "\n".join(curves.text(found))
    payload = {"table": curves.summary(found), "points": [point._asdict() for point in found]}
    return Report(f"errors in meV\n{table}", payload, [] if output is None else [output])


def draw_map(
    inputs: Sequence[Path], output: Path | None, chosen: Comparison, *, force: bool, quiet: bool
) -> Report:
    """Draw maps of the environments of atoms.

    Args:
        inputs: files of structures; energies of their atoms are a colour of the map.
        output: picture of the maps, or page (.html) of the first map and the structures.
        chosen: the options.
        force: whether to replace the output.
        quiet: whether to show no progress bar.

    Returns:
        What is on the maps.
    """
    from jaxrecon.runtime.files import check_output, replacing

    if output is None:
        raise ValueError("expected --output with a picture like map.png or a page, got none")
    if kinds := sorted(set(chosen.kinds or ()) - {"network"}):
        raise ValueError(f"expected --kind network for a map, got {', '.join(kinds)}")
    check_output(output, force)
    from jaxrecon.models.local import atom_maps as maps

    maps.check_umap()
    if output.suffix == ".html":
        from jaxrecon.plotting.explorer import check_packages

        check_packages("umap")
    options.start_jax()
    known = _environments(inputs, chosen, local=True, needed=bool(chosen.kinds))
    most = chosen.sizes[0] if chosen.sizes else maps.MOST
    known = maps.drawn(known, most, chosen.seed)
    assert known.structures is not None
    values = {chosen.preset: known.rows}
    if chosen.kinds:
        values["last hidden layer"] = _last_layer(known, chosen.seed, quiet)
    made = {name: maps.atom_map(array, seed=chosen.seed) for name, array in values.items()}
    likeness = maps.similarities(
        known.rows, known.descriptor, maps.reference_crystals(known.descriptor.elements)
    )
    numbers = {} if known.energies is None else {"energy (eV)": known.energies}
    numbers["coordination"] = maps.coordinations(known.structures).astype(float)
    numbers |= {f"similarity to {name}": array for name, array in likeness.items()}
    with replacing(output) as draft:
        if output.suffix == ".html":
            from jaxrecon.datasets.labelled import LabelledSet
            from jaxrecon.plotting import explorer_page

            points, clusters = made[chosen.preset]
            axes = ("UMAP 1", "UMAP 2")
            projection = explorer_page.Projection(
                points, axes, f"UMAP of {chosen.preset} of atoms", of_atoms=True
            )
            labelled = LabelledSet.of(list(known.structures), trajectories=known.trajectories)
            columns = {**numbers, "cluster": clusters.astype(float)}
            text = explorer_page.page(labelled, projection, "environments of atoms", columns)
            draft.write_text(text, encoding="utf-8")
        else:
            from jaxrecon.plotting.atom_maps import AtomMaps
            from jaxrecon.plotting.canvas import save
            from jaxrecon.plotting.figures import FIGURES

            points_of = {name: each.points for name, each in made.items()}
            clusters_of = {name: each.clusters for name, each in made.items()}
            save(FIGURES["atom_maps"](AtomMaps(points_of, numbers, clusters_of)), draft)
    count = f"{len(known.rows):,} atoms of {len(known.trajectories):,} structures"
    return Report(f"{output}: {count}", {"atoms": len(known.rows)}, [output])


def _last_layer(known: "Environments", seed: int, quiet: bool) -> Any:
    """The last hidden layer of a network that has learned the energies, for all atoms."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxrecon.models.local.config import LocalConfig
    from jaxrecon.models.local.network import NetworkModel

    config = LocalConfig(seed=seed)
    with options.reporting(None, config.epochs, ("learning", "atoms"), quiet) as progress:
        model = NetworkModel.fit(known, config, report=progress)
    layer = jax.jit(model.last_features().__call__)
    return np.asarray(layer(jnp.asarray(known.rows, jnp.float32), jnp.asarray(known.kinds)))


def _environments(
    files: Sequence[Path], chosen: Comparison, *, local: bool, needed: bool = True
) -> "Environments":
    """Read structures with local or total energies, and compute their rows."""
    from jaxrecon.datasets.io import read_labelled
    from jaxrecon.descriptors.fingerprint import Fingerprint
    from jaxrecon.models.local.environments import Environments
    from jaxrecon.structures.formulas import elements_of
    from jaxrecon.structures.io import read_structures

    key = chosen.energies_key if local else chosen.energy_key
    # Without a name, the files are labelled sets in any format.
    if key is None:
        labelled = read_labelled([str(path) for path in files])
        frames = labelled.structures
        if frames is None:
            raise ValueError("expected structures to learn from, got fingerprints alone")
        energies: list[Any] | None = labelled.local_energies
        totals: list[float] | None = labelled.energies.tolist()
        trajectories = labelled.trajectories.tolist()
    else:
        frames = [atoms for path in files for atoms in read_structures(path)]
        named = [_named(atoms, key, number, local) for number, atoms in enumerate(frames)]
        energies, totals = (named, None) if local else (None, named)
        words = [str(atoms.info.get(chosen.trajectory_key, "")) for atoms in frames]
        # Structures without the name of a trajectory are one each.
        place = {word: index for index, word in enumerate(sorted(set(words)))}
        trajectories = [
            place[word] if word else len(frames) + number for number, word in enumerate(words)
        ]
    descriptor = Fingerprint.preset(chosen.preset, elements_of(frames)).descriptor
    if not local:
        unknown = sum(total != total for total in totals or [])  # NaN differs from itself
        if key is None and unknown:
            raise ValueError(
                f"expected total energies of all {len(frames)} labelled structures, got none of "
                f"{unknown}: give their name by --energy-key"
            )
        return Environments.of(frames, descriptor, totals=totals, trajectories=trajectories)
    if energies is None and needed:
        raise ValueError(
            "expected energies of the atoms, got none: give their name by --energies-key, or "
            "compute them by `jaxrecon judge` with the calculator nequix or tersoff"
        )
    return Environments.of(frames, descriptor, energies=energies, trajectories=trajectories)


def _named(atoms: "Atoms", name: str, number: int, local: bool) -> Any:
    """The energies of the atoms, or the total energy, of a structure by their name, in eV."""
    import numpy as np

    results = {} if atoms.calc is None else atoms.calc.results
    known = (atoms.arrays if local else atoms.info) | results
    value = np.asarray(known.get(name))
    fits = value.shape == ((len(atoms),) if local else ())
    if not fits or not np.issubdtype(value.dtype, np.number):
        kind = "energies of the atoms" if local else "a total energy"
        found = sorted(set(known) - {"numbers", "positions"})
        raise ValueError(f"expected {kind} named {name} in structure {number}, got {found}")
    if local:
        return known[name]
    return float(known[name]) * (len(atoms) if "per_atom" in name else 1)
