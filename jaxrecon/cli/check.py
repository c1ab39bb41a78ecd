"""`jaxrecon match` and `doctor`: checks of structures and of the installation."""

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
            metavar="FOUND",
            help="A file in any format of ASE, in Angstrom, a folder of such files, or - for "
            "standard input; all frames are compared.",
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH",
            help="The same with as many frames, of the same compositions and in the same order.",
        ),
    ],
    output: Annotated[
        Path | None, options.output("OUT.json", "Table to write.  [default: none]")
    ] = None,
    force: Force = False,
) -> Report:
    """Compare structures with others, pair by pair.

    The table has the root mean square deviation (RMSD) in Angstrom, after the best rotation,
    reflection, translation and order of the atoms. Free structures match if it is
    at most 0.05. Crystals match by pymatgen's StructureMatcher: loosely with an rms of at most 0.5,
    tightly with at most 0.02, in units of (volume per atom)^(1/3).
    """
    from jaxrecon.runtime.files import check_output, write_json
    from jaxrecon.structures import compare
    from jaxrecon.structures.io import read_structures

    if output is not None:
        check_output(output, force, suffix=".json")
    if str(found) == str(truth) == "-":
        raise ValueError("expected standard input for FOUND or TRUTH, got it for both")
    frames, others = read_structures(found), read_structures(truth)
    matches = compare.compare(frames, others)
    payload = {**compare.summary(matches), "matches": [pair._asdict() for pair in matches]}
    if output is not None:
        write_json(output, {"found": str(found), "truth": str(truth), **payload})
    return Report(compare.text(matches, others), payload, [] if output is None else [output])


def doctor() -> Report:
    """Check the installation.

    Versions, devices, memory, cache and extras are printed, and a short trial is made. The trial
    recovers a triangle of platinum atoms from its fingerprint. The exit code is 1 if the trial
    fails or a package has a version that does not work.
    """
    from jaxrecon.cli import doctor

    found = doctor.examine(options.start_jax)
    return Report(doctor.text(found), found, code=1 if found["faults"] else 0)
