"""`jaxrecon match`, `certify` and `doctor`: checks of structures and of the installation."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxrecon.cli import options, presets
from jaxrecon.cli.options import Force
from jaxrecon.cli.verbs import Report

if TYPE_CHECKING:
    from jaxrecon.search.certificate import Certificate

MATCH_EXAMPLES = """\b
Examples:
  jaxrecon match found.extxyz truth.extxyz
  jaxrecon match found.extxyz truth.extxyz -o table.json"""
CERTIFY_EXAMPLES = """\b
Examples:
  jaxrecon certify clusters.xyz --preset soap
  jaxrecon certify crystals.cif --cell unknown -o table.json
  jaxrecon certify found.extxyz --fingerprints clusters.npz
  jaxrecon certify cluster.xyz --others 2 --hops 50 --noise 1e-3"""
CERTIFICATE_COLUMNS = {
    "structure": ">",
    "formula": "<",
    "unknowns": ">",
    "deficiency": ">",
    "singular value (1/A)": ">",
    "position error (A)": ">",
    "noise for 0.1 A": ">",
    "held": "<",
}
"""Columns of the table of certificates, with their alignment."""
DOCTOR_EXAMPLES = """\b
Examples:
  jaxrecon doctor
  jaxrecon doctor --json"""


class Cell(StrEnum):
    """Whether cells are known."""

    KNOWN = "known"
    UNKNOWN = "unknown"


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
    if len(frames) != len(others):
        raise ValueError(
            f"expected as many structures in both, got {len(frames)} in {found} and {len(others)} "
            f"in {truth}"
        )
    matches = compare.compare(frames, others)
    payload = {**compare.summary(matches), "matches": [pair._asdict() for pair in matches]}
    if output is not None:
        write_json(output, {"found": str(found), "truth": str(truth), **payload})
    return Report(compare.text(matches, others), payload, [] if output is None else [output])


def certify(
    structures: options.Structures,
    output: Annotated[
        Path | None, options.output("OUT.json", "Table to write.  [default: none]")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Parameters of the fingerprint, {presets.LISTED}.  [default: those of "
            "--fingerprints; else crystal if a structure is periodic, else default]",
        ),
    ] = None,
    fingerprints: Annotated[
        Path | None,
        typer.Option(
            metavar="FP.npz",
            help="Fingerprints that the structures should have, in their order, from `fingerprint`."
            "  [default: their own]",
        ),
    ] = None,
    cell: Annotated[
        Cell, typer.Option(help="Whether the search for a crystal is told its cell.")
    ] = Cell.KNOWN,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="SIGMA|FILE",
            help="Standard deviation of the errors of the numbers; a file (.npy or .csv) has one "
            "for each number. The position error is what they cause, and other structures are "
            "those that they do not tell apart.  [default: exact numbers]",
        ),
    ] = None,
    others: Annotated[
        int,
        typer.Option(min=0, help="Number of other structures with the same fingerprint to find."),
    ] = 0,
    hops: Annotated[
        int, typer.Option(min=1, help="Budget of the search for other structures, in hops.")
    ] = 100,
    seed: options.Seed = 0,
    force: Force = False,
) -> Report:
    """Say how firmly a fingerprint holds structures.

    The derivatives of the fingerprint tell how many displacements of the atoms (unknowns) it does
    not see to first order (deficiency), how much it changes along the one that it sees least
    (singular value), how far an atom may still be from its place with the present residual
    (position error), and how much noise in the numbers moves an atom by 0.1 Angstrom.

    Displacements that break a symmetry, as in H2O or CH4, change no number to first order: they
    count as a deficiency, and the second order, which the position error includes, holds the
    structure all the same. The last column says which order holds all atoms within 0.1 Angstrom,
    or that neither does.

    The noise in the table is the worst case, errors along the softest displacement; random errors
    of this size (--noise) move atoms less. All this holds near a structure; --others searches for
    different structures with the same fingerprint.
    """
    from jaxrecon.cli import arguments
    from jaxrecon.descriptors.featurize import featurize
    from jaxrecon.descriptors.fingerprint import Fingerprint
    from jaxrecon.descriptors.io import read_fingerprints
    from jaxrecon.runtime import tables
    from jaxrecon.runtime.files import check_output, write_json
    from jaxrecon.search.certificate import certificates
    from jaxrecon.search.degeneracy import degenerate_structures
    from jaxrecon.search.noise import noise_of_each_target
    from jaxrecon.structures.formulas import elements_of
    from jaxrecon.structures.io import read_structures

    if output is not None:
        check_output(output, force, suffix=".json")
    frames = read_structures(structures)
    chosen, targets = None, None
    if fingerprints is not None:
        file = read_fingerprints(fingerprints)
        chosen, targets = file.fingerprint, file.values
        if len(file) != len(frames):
            raise ValueError(
                f"expected one fingerprint for each structure, got {len(file)} in {fingerprints} "
                f"for {len(frames)} structures"
            )
        if chosen is not None and preset is not None:
            raise ValueError("expected --preset or --fingerprints with parameters, got both")
    if chosen is None:
        default = "crystal" if any(atoms.pbc.any() for atoms in frames) else "default"
        chosen = Fingerprint.preset(preset or default, elements_of(frames))
    given = None if noise is None else arguments.parse_noise(noise, range(len(frames)))
    noises = noise_of_each_target(given, [chosen.size] * len(frames))
    options.start_jax()
    known = cell is Cell.KNOWN
    found = certificates(frames, chosen, targets=targets, noise=given, cell_known=known)
    residuals = None
    if targets is not None:
        residuals = abs(featurize(frames, chosen) - targets).mean(axis=1).tolist()
    rows, data = [], []
    for number, (atoms, certificate) in enumerate(zip(frames, found, strict=True)):
        formula = atoms.get_chemical_formula()
        numbers = [f"{value:.1e}" for value in certificate[2:5]]
        rows.append(
            [str(number), formula, *map(str, certificate[:2]), *numbers, _held(certificate)]
        )
        entry: dict[str, Any] = {"formula": formula, **certificate._asdict()}
        if residuals is not None:
            entry["residual"] = residuals[number]
        if others:
            same = degenerate_structures(
                atoms,
                chosen,
                count=others,
                cell_known=known,
                noise=noises[number],
                seed=seed,
                hops=hops,
            )
            entry["others"] = [float(other.info["rmsd"]) for other in same]
            rows[-1].append(", ".join(f"{rmsd:.2f}" for rmsd in entry["others"]) or "none found")
        data.append(entry)
    columns = CERTIFICATE_COLUMNS | ({"RMSD of others (A)": "<"} if others else {})
    payload = {"fingerprint": chosen.to_dict(), "certificates": data}
    if output is not None:
        write_json(output, payload)
    return Report(tables.text(columns, rows), payload, [] if output is None else [output])


def _held(certificate: "Certificate") -> str:
    """Which order of the derivatives holds the atoms of a structure, in a few words."""
    from jaxrecon.search.certificate import MOVED

    if not certificate.position_error <= MOVED:
        return f"not within {MOVED} A"
    return "to second order" if certificate.rank_deficiency else "to first order"


def doctor() -> Report:
    """Check the installation.

    Versions, devices, memory, cache and extras are printed, and a short trial is made. The trial
    recovers a triangle of platinum atoms from its fingerprint. The exit code is 1 if the trial
    fails or a package has a version that does not work.
    """
    from jaxrecon.cli import doctor

    found = doctor.examine(options.start_jax)
    return Report(doctor.text(found), found, code=1 if found["faults"] else 0)
