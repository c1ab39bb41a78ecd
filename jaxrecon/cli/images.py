"""`jaxrecon images <verb>`: crystals as images, and back."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jaxrecon.cli import options
from jaxrecon.cli.options import Force, Seed, Structures
from jaxrecon.cli.verbs import Report, Verbs
from jaxrecon.images.parameters import ImageParameters

PUBLISHED = ImageParameters()
"""The parameters that options have unless told otherwise."""

app = Verbs(
    rich_markup_mode=None,
    help="Make images of crystals, and crystals of images.",
    no_args_is_help=True,
)


CellGrid = Annotated[
    int, typer.Option(help="Number of voxels of the cell image along each lattice vector.")
]
BasisGrid = Annotated[
    int, typer.Option(help="Number of voxels of the basis images along each axis of the box.")
]
Box = Annotated[
    float, typer.Option(help="Edge of the box of the basis images in Angstrom; above 0.")
]
Sigma = Annotated[
    float, typer.Option(help="Standard deviation of the Gaussians in Angstrom; above 0.")
]
MinDistance = Annotated[
    list[str] | None,
    typer.Option(
        metavar="V-O=1.2",
        help="Smallest distance of atoms of two elements in Angstrom: where two are closer, that "
        "of the second element is removed; may be repeated.  [default: none]",
    ),
]


class Method(StrEnum):
    """How atoms are read from images."""

    FIT = "fit"
    ARGMAX = "argmax"


@app.command(
    epilog="""\b
Examples:
  jaxrecon images build --elements V,O -o oxides.extxyz
  jaxrecon images build --elements V,O --known known.cif --copies 12 -o oxides.extxyz"""
)
def build(
    elements: Annotated[str, typer.Option(metavar="V,O", help="The two elements of the crystals.")],
    output: Annotated[
        Path,
        options.output(
            "OUT.extxyz", "Crystals to write; each has its prototype, trajectory and variant."
        ),
    ],
    known: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Known crystals that are kept out, with all that match them loosely; may be "
            "repeated.  [default: none]",
        ),
    ] = None,
    prototypes: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Crystals whose two elements are replaced, others are left out; may be repeated. "
            " [default: those of AFLOW]",
        ),
    ] = None,
    copies: Annotated[
        int, typer.Option(min=0, help="Number of strained and rattled copies of each crystal.")
    ] = 12,
    settings: Annotated[
        bool,
        typer.Option(
            "--settings",
            help="Give copies other lattice vectors and origins, and some the mirror image: the "
            "same crystals, whose images are others.",
        ),
    ] = False,
    seed: Seed = 0,
    force: Force = False,
) -> Report:
    """Make crystals of two elements by substitution into prototypes, for networks to learn from.

    The prototypes are the binary ones of the AFLOW encyclopedia, or your own, with at most 20 atoms
    in a primitive cell; the volumes are those that lengths of bonds let expect, and no edge is
    longer than 10 Angstrom. Copies have strains with a standard deviation of 0.03 and coordinates
    with one of 0.05 Angstrom. `judge` computes their energies.
    """
    from jaxrecon.images import substitution
    from jaxrecon.runtime.files import check_output
    from jaxrecon.structures.io import read_structures, write_structures

    check_output(output, force)
    kept_out = read_structures(known) if known else None
    frames = substitution.build(
        elements,
        known=kept_out,
        prototypes=read_structures(prototypes) if prototypes else None,
        copies=copies,
        seed=seed,
        settings=settings,
    )
    if not frames:
        raise ValueError(f"expected prototypes for {elements} besides the known ones, got none")
    write_structures(output, frames)
    count = len({atoms.info["trajectory"] for atoms in frames})
    text = f"{output}: {len(frames)} crystals, {count} prototypes with {copies} copies each"
    return Report(text, {"crystals": len(frames), "prototypes": count}, [output])


@app.command(
    epilog="""\b
Examples:
  jaxrecon images encode crystals.extxyz -o images.npz
  jaxrecon images encode oxides/ -o images.npz --elements V,O --basis-grid 32 --sigma 0.4"""
)
def encode(
    structures: Structures,
    output: Annotated[Path, options.output("IMAGES.npz", "File of images to write.")],
    elements: Annotated[
        str | None,
        typer.Option(
            metavar="V,O",
            help="Elements of the basis images, in this order.  [default: those of each crystal]",
        ),
    ] = None,
    cell_grid: CellGrid = PUBLISHED.cell_grid,
    basis_grid: BasisGrid = PUBLISHED.basis_grid,
    box: Box = PUBLISHED.box,
    sigma: Sigma = PUBLISHED.sigma,
    threshold: Annotated[
        float, typer.Option(help="Value under which the contribution of an atom to a voxel is 0.")
    ] = PUBLISHED.threshold,
    force: Force = False,
) -> Report:
    """Make the images of crystals, one of the cell and one of each element.

    They are those of Noh et al., Matter 1, 1370 (2019): Gaussians on a grid of fractional
    coordinates, and on one in a cubic box. IMAGES.npz has the images of all crystals, their
    elements and parameters; `images decode` makes the crystals of it.
    """
    from jaxrecon.images import encode, write_images
    from jaxrecon.runtime.files import check_output
    from jaxrecon.structures.io import read_structures

    check_output(output, force, suffix=".npz")
    parameters = ImageParameters(cell_grid, basis_grid, box, sigma, threshold)
    frames = read_structures(structures)
    options.start_jax()
    images = encode(frames, parameters, elements=elements)
    write_images(output, images)
    voxels = sum(image.size for image in images)
    text = f"{output}: images of {len(images)} crystals, {voxels:,} voxels"
    return Report(text, {"images": len(images), "voxels": voxels}, [output])


@app.command(
    epilog="""\b
Examples:
  jaxrecon images decode images.npz -o crystals.extxyz
  jaxrecon images decode images.npz -o out.extxyz --min-distance V-O=1.2 --min-distance O-O=1.3"""
)
def decode(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGES.npz...", help="Files of images, those of `images encode`."),
    ],
    output: Annotated[
        Path,
        options.output(
            "OUT.extxyz",
            "Crystals to write, one frame per image that can be read; OUT.json has the details.",
        ),
    ],
    method: Annotated[
        Method,
        typer.Option(
            help="How atoms are found: fit, by least squares on all voxels, or argmax, at the "
            "brightest voxels, as published."
        ),
    ] = Method.FIT,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Value between 0 and 1 that a voxel has to exceed to be the peak of an atom: a "
            "smaller one finds more atoms.  [default: half of the least that an exact image has in "
            "the voxel nearest to an atom]"
        ),
    ] = None,
    min_distance: MinDistance = None,
    force: Force = False,
) -> Report:
    """Make the crystals of images.

    Each frame of OUT.extxyz has its `result_code`: converged, if the crystal has exactly this
    image, or stalled, as for images of networks; its `residual`, the largest difference of a voxel;
    its `position_error` and `cell_error` in Angstrom, and its `image`, counted from 0. Images that
    can't be read are non_finite, no_cell or no_peak in OUT.json and have no frame.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.images import decode, read_images
    from jaxrecon.runtime.files import check_output, write_json
    from jaxrecon.structures.io import write_structures

    details = options.details_path(output)
    for path in (output, details):
        check_output(path, force)
    distances = arguments.parse_distances(min_distance or [])
    images = [image for path in files for image in read_images(path)]
    options.start_jax()
    found = decode(images, method=method.value, threshold=threshold, min_distances=distances)
    for number, atoms in enumerate(found):
        atoms.info["image"] = number
    crystals = [atoms for atoms in found if len(atoms)]
    if not crystals:
        codes = ", ".join(sorted({atoms.info["result_code"] for atoms in found}))
        raise ValueError(f"expected images of crystals, got {len(found)} that are {codes}")
    write_structures(output, crystals)
    results = [{**atoms.info, "formula": atoms.get_chemical_formula()} for atoms in found]
    converged = sum(each["result_code"] == "converged" for each in results)
    write_json(details, {"images": [str(path) for path in files], "results": results})
    text = f"{output}: {len(crystals)} crystals of {len(found)} images, {converged} converged"
    payload = {"images": len(found), "crystals": len(crystals), "converged": converged}
    return Report(text, payload, [output, details])
