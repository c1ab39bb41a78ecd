"""`jaxrecon images train`, `generate` and `evaluate`: networks of images."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jaxrecon.cli import images, options
from jaxrecon.cli.images import PUBLISHED, BasisGrid, Box, CellGrid, MinDistance, Sigma
from jaxrecon.cli.options import Force, Quiet, Resume, Seed, Structures, reporting
from jaxrecon.cli.verbs import Report
from jaxrecon.images.config import ImageConfig
from jaxrecon.images.parameters import ImageParameters

app = images.app
"""All verbs of images."""

DEFAULTS = ImageConfig()
"""The settings of networks that options have unless told otherwise."""

Model = Annotated[Path, typer.Option(metavar="MODEL", help="Folder that `images train` wrote.")]


class Way(StrEnum):
    """Ways to draw latent vectors."""

    SLERP = "slerp"
    GAUSSIAN = "gaussian"
    AROUND = "around"


class Network(StrEnum):
    """Kinds of networks."""

    PATCH = "patch"
    CONVOLUTION = "convolution"


@app.command(
    epilog="""\b
Examples:
  jaxrecon images train oxides.extxyz --elements V,O -o model
  jaxrecon images train oxides.extxyz --elements V,O -o model --basis-grid 32 --sigma 0.4"""
)
def train(
    structures: Structures,
    elements: Annotated[
        str, typer.Option(metavar="V,O", help="Elements of the basis images, in this order.")
    ],
    output: Annotated[Path, options.output("MODEL", "Folder of the model to write.")],
    kind: Annotated[
        Network,
        typer.Option(help="Kind of the networks: patch for CPUs, or convolution, as published."),
    ] = Network.PATCH,
    epochs: Annotated[
        int, typer.Option(min=1, help="Number of passes over the crystals for each network.")
    ] = DEFAULTS.basis_epochs,
    rate: Annotated[
        float, typer.Option(help="Learning rate of Adam, which falls to 0 along half a cosine.")
    ] = DEFAULTS.basis_rate,
    batch: Annotated[
        int, typer.Option(min=1, help="Number of images in one step.")
    ] = DEFAULTS.basis_batch,
    validation: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of crystals that choose the best epoch; the others, one at "
            "least, are learned from. With --energy-key there have to be 10 crystals in all.",
        ),
    ] = DEFAULTS.validation,
    cell_grid: CellGrid = PUBLISHED.cell_grid,
    basis_grid: BasisGrid = PUBLISHED.basis_grid,
    box: Box = PUBLISHED.box,
    sigma: Sigma = PUBLISHED.sigma,
    energy_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the formation energies in eV/atom in the files, like e_form of `judge`: "
            "with it, a generator of crystals is trained too.  [default: none]",
        ),
    ] = None,
    generator_epochs: Annotated[
        int, typer.Option(min=1, help="Number of passes over the crystals for the generator.")
    ] = 200,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> Report:
    """Train autoencoders of the images of crystals.

    One makes 20 numbers of the image of a cell, the other 200 of that of the atoms of an element,
    and both make images of such numbers again. The networks are those of Noh et al., Matter 1, 1370
    (2019), or faster ones of patches. With --energy-key, a variational autoencoder of these numbers
    follows, from which `images generate` draws, with a classifier of formation energies up to 0.5
    eV/atom. Checkpoints are in MODEL.training until training is done.
    """
    from jaxrecon.images.folder import save_images
    from jaxrecon.images.materials import energies_of, train_materials
    from jaxrecon.images.training import WORDS, train_images
    from jaxrecon.models.checkpoints import BEGUN
    from jaxrecon.structures.io import read_structures

    checkpoints = output.with_name(f"{output.name}.training")
    if not output.resolve().parent.is_dir():
        raise NotADirectoryError(f"expected a directory to write {output} to, got none")
    options.check_new(output, checkpoints, resume=resume, force=force, resumable=checkpoints)
    config = ImageConfig(
        kind=kind.value,
        parameters=ImageParameters(cell_grid, basis_grid, box, sigma),
        cell_epochs=epochs,
        basis_epochs=epochs,
        cell_rate=rate,
        basis_rate=rate,
        cell_batch=batch,
        basis_batch=batch,
        validation=validation,
        seed=seed,
    )
    frames = read_structures(structures)
    energies = None if energy_key is None else energies_of(frames, energy_key)
    options.start_jax()
    if force:
        options.remove(checkpoints, BEGUN)
    total = 2 * epochs + (0 if energies is None else generator_epochs)
    generator = None
    try:
        with reporting(None, total, WORDS, quiet) as progress:
            model = train_images(frames, elements, config, folder=checkpoints, progress=progress)
            if energies is not None:
                generator = train_materials(
                    model,
                    model.codes(frames),
                    energies,
                    epochs=generator_epochs,
                    seed=seed,
                    folder=checkpoints / "generator",
                    report=progress,
                )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"checkpoints are in {checkpoints}") from None
    save_images(generator or model, output)
    options.remove(checkpoints, BEGUN)
    losses = {part: float(each[:, 1].min()) for part, each in model.losses.items()}
    text = (
        f"{output}: trained on {len(frames) - validation} crystals; least validation loss "
        f"{losses['cell']:.1f} for cells and {losses['basis']:.1f} for atoms"
    )
    return Report(text, {"crystals": len(frames), "losses": losses}, [output])


@app.command(
    epilog="""\b
Example:
  jaxrecon images evaluate unseen.extxyz --model model -o scores.json --min-distance O-O=1.3"""
)
def evaluate(
    structures: Structures,
    model: Model,
    output: Annotated[Path, options.output("SCORES.json", "File of scores to write.")],
    min_distance: MinDistance = None,
    force: Force = False,
) -> Report:
    """Measure how well crystals come back from the codes of their images.

    SCORES.json has, for each crystal, whether every element has the right number of atoms, the mean
    deviation of matched atoms in Angstrom, and the mean errors of edges in Angstrom and of angles
    in degrees.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.images.evaluation import evaluate_images, summary
    from jaxrecon.images.folder import load_images
    from jaxrecon.images.materials import Materials
    from jaxrecon.runtime.files import check_output, write_json
    from jaxrecon.structures.io import read_structures

    check_output(output, force, suffix=".json")
    distances = arguments.parse_distances(min_distance or [])
    frames = read_structures(structures)
    options.start_jax()
    loaded = load_images(model)
    coder = loaded.model if isinstance(loaded, Materials) else loaded
    scores = evaluate_images(coder, frames, min_distances=distances)
    total = summary(scores)
    rows = [
        {
            "formula": truth.get_chemical_formula(),
            **{name: getattr(score, name) for name in ("right", "deviation", "lengths", "angles")},
        }
        for score, truth in zip(scores, frames, strict=True)
    ]
    write_json(output, {"summary": total, "crystals": rows})
    text = (
        f"{output}: {total['right_number_of_atoms']:.1%} of {len(frames)} crystals have the right "
        f"number of atoms, with a mean deviation of {total['deviation']:.3f} A; cells are off by "
        f"{total['lengths']:.3f} A and {total['angles']:.2f} degrees"
    )
    return Report(text, total, [output])


@app.command(
    epilog="""\b
Examples:
  jaxrecon images generate known.extxyz --model model -o new.extxyz
  jaxrecon images generate left_out.extxyz --model model -o again.extxyz --way around"""
)
def generate(
    structures: Structures,
    model: Model,
    output: Annotated[
        Path,
        options.output(
            "OUT.extxyz", "Crystals to write, one frame for each whose images can be read."
        ),
    ],
    way: Annotated[
        Way,
        typer.Option(
            help="How latent vectors are drawn: slerp, between all pairs of STRUCTURES; gaussian, "
            "with their mean and deviation; or around each of them."
        ),
    ] = Way.SLERP,
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of vectors between two crystals, in all, or around each.  [default: 19, "
            "1000 or 30]",
        ),
    ] = None,
    min_distance: MinDistance = None,
    seed: Seed = 0,
    force: Force = False,
) -> Report:
    """Make crystals from latent vectors near to or between known ones.

    MODEL has a generator if it was trained with --energy-key. Each frame of OUT.extxyz has the
    number of its `sample` and its `stability`, the probability of a formation energy up to 0.5
    eV/atom; those of V and O have `valid_oxidation`, whether V can have from +2 to +5.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.images.folder import load_images
    from jaxrecon.images.generation import generate_images
    from jaxrecon.images.materials import Materials
    from jaxrecon.images.sampling import has_valid_oxidation
    from jaxrecon.runtime.files import check_output
    from jaxrecon.structures.io import read_structures, write_structures

    check_output(output, force)
    distances = arguments.parse_distances(min_distance or [])
    frames = read_structures(structures)
    loaded = load_images(model)
    if not isinstance(loaded, Materials):
        raise ValueError(f"expected a model trained with --energy-key, got {model} without it")
    options.start_jax()
    drawn = generate_images(
        loaded, frames, way=way.value, count=count, seed=seed, min_distances=distances
    )
    crystals = [atoms for atoms in drawn if len(atoms)]
    if not crystals:
        raise ValueError(f"expected images of crystals, got none among {len(drawn)} samples")
    payload = {"samples": len(drawn), "crystals": len(crystals)}
    text = f"{output}: {len(crystals)} crystals of {len(drawn)} samples"
    if set(loaded.model.elements) == {"V", "O"}:
        for atoms in crystals:
            atoms.info["valid_oxidation"] = has_valid_oxidation(list(atoms.symbols))
        valid = sum(atoms.info["valid_oxidation"] for atoms in crystals)
        payload["valid_oxidation"] = valid
        text += f", {valid} with a possible oxidation state"
    write_structures(output, crystals)
    return Report(text, payload, [output])
