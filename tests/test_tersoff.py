"""Tersoff's potential: ASE's numbers, and finite ones where ASE has none."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.tersoff import Tersoff as OfASE
from ase.calculators.tersoff import TersoffParameters
from ase.io import read

from jaxrecon.potentials import tersoff
from jaxrecon.potentials.registry import reference_calculator
from jaxrecon.potentials.single_points import SinglePoint, bounds_for, single_points
from jaxrecon.potentials.tersoff import NAMES, SILICON_CARBIDE, Entries, Tersoff
from jaxrecon.structures.structure import from_ase, padded

pytestmark = pytest.mark.usefixtures("strict_types")

TERSOFF = Tersoff()

SILICON_1988: Entries = {
    ("Si", "Si", "Si"): (
        *(3.0, 1.0, 1.3258, 4.8381, 2.0417, 0.0, 22.956, 0.33675),
        *(1.3258, 95.373, 3.0, 0.2, 3.2394, 3264.7),
    )
}
"""Tersoff, Phys. Rev. B 37, 6991 (1988): the exponential of the difference of distances counts."""


def by_ase(atoms: Atoms, entries: Entries = SILICON_CARBIDE) -> SinglePoint:
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.calc = OfASE({key: TersoffParameters(*values) for key, values in entries.items()})
    return SinglePoint(
        copy.get_potential_energy(),
        copy.get_potential_energies(),
        copy.get_forces(),
        copy.get_stress() if atoms.pbc.all() else None,
    )


def check(found: SinglePoint, wanted: SinglePoint) -> None:
    """Energy, energies, forces and stress to 1e-10 of the largest of each."""
    for ours, theirs in zip(found, wanted, strict=True):
        if theirs is None:
            assert ours is None
        else:
            largest = max(float(np.abs(theirs).max()), 1e-3)
            np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-10 * largest)


def rattled(atoms: Atoms, seed: int, size: float = 0.08) -> Atoms:
    copy = atoms.copy()
    copy.rattle(size, seed=seed)
    return copy


def graphite() -> Atoms:
    sheet = graphene(a=2.46, vacuum=3.35)
    sheet.pbc = True
    return sheet


def cube(symbols: str, edge: float, seed: int) -> Atoms:
    """A free cluster in which every bond has others beside it: ASE divides by zero at lone ones."""
    return rattled(Atoms(symbols, edge * np.array(list(np.ndindex(2, 2, 2)))), seed)


CRYSTALS = [
    rattled(bulk("C"), 0),
    rattled(bulk("C", cubic=True), 1),
    rattled(graphite(), 2),
    rattled(bulk("Si", cubic=True), 3),
    rattled(bulk("SiC", "zincblende", a=4.36), 4),
    rattled(bulk("SiC", "zincblende", a=4.36, cubic=True), 5, 0.2),
    rattled(molecule("C60"), 6),
    cube("C8", 1.5, 7),
    cube("Si3CSiC3", 1.8, 8),
]


def test_crystals_and_clusters_are_those_of_ase() -> None:
    for found, atoms in zip(single_points(CRYSTALS, TERSOFF), CRYSTALS, strict=True):
        check(found, by_ase(atoms))


def test_parameters_for_which_differences_of_distances_count() -> None:
    atoms = rattled(bulk("Si", cubic=True), 0, 0.15)
    [found] = single_points(atoms, Tersoff(SILICON_1988))
    check(found, by_ase(atoms, SILICON_1988))


def test_amorphous_carbon(data: Path) -> None:
    frames = read(data / "carbon_cgap17_quenched.extxyz", "::12")
    for found, atoms in zip(single_points(frames, TERSOFF), frames, strict=True):
        check(found, by_ase(atoms))


def test_the_file_of_lammps_has_the_same_numbers(tmp_path: Path) -> None:
    lines = [" ".join(map(str, (*key, *values))) for key, values in SILICON_CARBIDE.items()]
    path = tmp_path / "SiC.tersoff"
    path.write_text("# as LAMMPS reads it\n" + "\n".join(lines))
    crystal = CRYSTALS[4]
    named = reference_calculator(f"tersoff:{path}")
    assert named.settings["file"] == "SiC.tersoff"
    assert len(named.settings["sha256"]) == 64
    assert named.elements == ("C", "Si")
    ready = named.for_bulk(crystal)
    assert ready.get_potential_energy() == pytest.approx(by_ase(crystal).energy, rel=1e-12)
    assert ready.get_potential_energies().shape == (2,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("C C C 3.0 1.0", "expected Tersoff parameters as for LAMMPS, got .*wrong"),
        ("C C C" + " x" * 14, "expected Tersoff parameters as for LAMMPS, got .*wrong"),
        ("C C C 2.0" + " 1.0" * 13, r"expected m of 1 or 3, got \[2.0\]"),
        ("C C C 3.0" + " 1.0" * 13 + "\nSi Si Si 3.0" + " 1.0" * 13, "parameters for C C Si, got"),
        ("", "parameters as for LAMMPS, got none in"),
        ("C C C 3.0 nan" + " 1.0" * 12, "14 finite parameters for C C C, got"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        reference_calculator(f"tersoff:{path}")


def ends(*distances: float) -> Atoms:
    """Atoms on a line, at these distances from the first."""
    return Atoms(f"C{1 + len(distances)}", [[0.0, 0.0, z] for z in (0.0, *distances)])


SINGULAR = {
    "one atom": ends(),
    "dimer": ends(1.4),
    "coincident": ends(0.0, 1.4),
    "line": ends(1.3, 2.6),
    "line within the cutoff": ends(1.0, 1.9, -1.0),
    "at the cutoff": ends(2.1),
    "a third at the cutoff": ends(1.4, -2.1),
    "just inside": ends(1.4, -2.1 + 1e-9),
    "where it begins to fall": ends(1.8, -1.8),
    "far": ends(9.0),
    "an angle without weight": Atoms(
        "C3", [[0, 0, 0], [1.4, 0, 0], [-1.4 * 0.57058, 1.4 * np.sqrt(1.0 - 0.57058**2), 0]]
    ),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_finite_forces_everywhere(dtype: type[np.floating]) -> None:
    given = list(SINGULAR.values())
    for atoms, found in zip(given, single_points(given, TERSOFF, dtype=dtype), strict=True):
        assert np.isfinite(found.energy)
        assert np.isfinite(found.forces).all()
        np.testing.assert_allclose(found.forces.sum(axis=0), 0.0, atol=1e-3)
        assert len(found.energies) == len(atoms)


def test_dimers_by_the_pair_terms_alone() -> None:
    """ASE divides by zero here. The bond order of a lone bond is 1."""
    _, _, _, _, _, _, _, _, lambda2, B, R, D, lambda1, A = SILICON_CARBIDE["C", "C", "C"]
    for r in (1.4, 1.9, 2.05):
        fall = 0.5 - 0.5 * np.sin(np.pi / 2 * (r - R) / D) if r > R - D else 1.0
        wanted = fall * (A * np.exp(-lambda1 * r) - B * np.exp(-lambda2 * r))
        [found] = single_points(ends(r), TERSOFF)
        assert found.energy == pytest.approx(wanted, rel=1e-12)
        assert found.energies == pytest.approx([wanted / 2] * 2)


@pytest.mark.usefixtures("x64")
def test_jit_vmap_and_derivatives() -> None:
    """Forces, and the derivative by the cell against finite differences of the energy."""
    crystals = [rattled(bulk("SiC", "zincblende", a=4.36), seed, 0.1) for seed in range(3)]
    bounds = bounds_for(crystals, 1.05 * TERSOFF.r_cut, 2)
    batch = padded(crystals, 2, bounds)
    found = jax.jit(jax.vmap(TERSOFF.predict))(batch)
    wanted = [by_ase(atoms) for atoms in crystals]
    np.testing.assert_allclose(found.energy, [point.energy for point in wanted], rtol=1e-11)
    np.testing.assert_allclose(found.forces, [point.forces for point in wanted], atol=1e-10)
    one = from_ase(crystals[0], bounds=bounds)

    @jax.jit
    def energy(cell: jax.Array) -> jax.Array:
        fractional = one.positions @ jnp.linalg.inv(one.cell)
        moved = type(one)(fractional @ cell, one.species, one.mask, cell, one.pbc, bounds)
        return jnp.sum(TERSOFF.energies(moved))

    slope = jax.grad(energy)(one.cell)
    step = 1e-5 * np.random.default_rng(0).normal(size=(3, 3))
    change = float(energy(one.cell + step) - energy(one.cell - step))
    assert change == pytest.approx(2.0 * float(np.sum(slope * step)), rel=1e-6)


def test_parameters_are_what_they_are_called() -> None:
    assert TERSOFF.elements == ("C", "Si")
    assert TERSOFF.r_cut == pytest.approx(3.0)
    assert set(TERSOFF.parameters) == set(NAMES)
    with pytest.raises(ValueError, match=re.escape("elements among C, Si, got O, Pt")):
        single_points(Atoms("PtO", [[0, 0, 0], [0, 0, 2]]), TERSOFF)


def test_a_potential_of_fewer_elements_and_blocks_of_atoms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    carbon = TERSOFF.restricted(["C"])
    assert (carbon.elements, carbon.r_cut) == (("C",), pytest.approx(2.1))
    assert TERSOFF.restricted({"C"}) is carbon
    assert TERSOFF.restricted(["Si", "C"]) is TERSOFF
    monkeypatch.setattr(tersoff, "BLOCK", 3)
    for found, atoms in zip(single_points(CRYSTALS[1:6], Tersoff()), CRYSTALS[1:6], strict=True):
        check(found, by_ase(atoms))
