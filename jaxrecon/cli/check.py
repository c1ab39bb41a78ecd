"""`jaxrecon match` and `doctor`: whether what was found is right, and what it was found with."""

from pathlib import Path
from typing import Annotated

import typer

from jaxrecon.cli import options
from jaxrecon.cli.options import Force
from jaxrecon.cli.verbs import Report

MATCH_EXAMPLES = """\b
Examples:
  jaxrecon match found.extxyz truth.extxyz
  jaxrecon match found.extxyz truth.extxyz -o table.json"""
DOCTOR_EXAMPLES = """\b
Examples:
  jaxrecon doctor
  jaxrecon doctor --json"""


def match(
    found: Annotated[
        Path,
        typer.Argument(
            metavar="FOUND.extxyz",
            help="File in any format of ASE; all of its frames, in Angstrom.",
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH.extxyz", help="As many frames of the same compositions, in this order."
        ),
    ],
    output: Annotated[
        Path | None, options.output("OUT.json", "Table to write.  [default: none]")
    ] = None,
    force: Force = False,
) -> Report:
    """Say how near structures are to others, whatever rotation, reflection and order of atoms.

    Root mean square deviations are in Angstrom. Free structures match up to 0.05; crystals if
    pymatgen's StructureMatcher says so: loosely up to an rms of 0.5, tightly up to 0.02, in units
    of the edge of an atom's volume.
    """
    from jaxrecon.runtime.files import check_output, write_json
    from jaxrecon.structures import compare
    from jaxrecon.structures.io import read_structures

    if output is not None:
        check_output(output, force, suffix=".json")
    frames, others = read_structures(found), read_structures(truth)
    matches = compare.compare(frames, others)
    told = {**compare.summary(matches), "matches": [each._asdict() for each in matches]}
    if output is not None:
        write_json(output, {"found": str(found), "truth": str(truth), **told})
    return Report(compare.text(matches, others), told, [] if output is None else [output])


def doctor() -> Report:
    """Say what jaxrecon runs on: versions, devices, memory, cache, extras; and try it.

    The trial is a fingerprint of a triangle of platinum and back, certified. The exit code is 1 if
    it fails or a version is one of those that return wrong numbers.
    """
    from jaxrecon.cli import doctor

    found = doctor.examine(options.start_jax)
    return Report(doctor.text(found), found, code=1 if found["faults"] else 0)
