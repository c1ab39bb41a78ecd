"""Structures with a single environment, and how firmly they hold it."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene

from jaxrecon import SOAP
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.single_environments import single_environments
from jaxrecon.models.local.training import train_local
from jaxrecon.models.local.uncertainty import LocalRigidity

SOAP_OF_CARBON = SOAP(("C",), r_cut=4.0, n_max=4, l_max=3)


def graphite(stacking: str) -> Atoms:
    """Graphite: rhombohedral for ABC, hexagonal with four atoms for AB."""
    sheet = graphene(a=2.46, vacuum=None)
    cell = sheet.cell.array.copy()
    if stacking == "ABC":
        # The third vector leads to the next layer, moved by a third of the diagonal.
        cell[2] = (cell[0] + cell[1]) / 3.0 + [0.0, 0.0, 3.35]
        return Atoms("C2", sheet.positions, cell=cell, pbc=True)
    cell[2] = [0.0, 0.0, 6.7]
    shift = (cell[0] + cell[1]) / 3.0 + [0.0, 0.0, 3.35]
    return Atoms("C4", [*sheet.positions, *(sheet.positions + shift)], cell=cell, pbc=True)


@pytest.mark.parametrize(
    "crystal", [bulk("C"), bulk("C", "fcc", a=3.1), graphite("ABC")], ids=["diamond", "fcc", "ABC"]
)
def test_all_distances_of_all_atoms_are_the_same(crystal: Atoms) -> None:
    found = single_environments(crystal, SOAP_OF_CARBON, 4, seed=1)
    assert len(found) == 4
    for atoms in found:
        assert atoms.cell.volume == pytest.approx(crystal.cell.volume)
        assert np.abs(atoms.cell.cellpar() - crystal.cell.cellpar()).max() > 0.01
        # ASE finds the same sorted distances around each atom.
        whole = atoms.repeat(5)
        distances = np.sort(whole.get_all_distances(mic=True), axis=1)[:, 1:20]
        np.testing.assert_allclose(distances, distances[:1].repeat(len(whole), 0), atol=1e-8)


def test_two_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="atoms have one environment in any cell"):
        single_environments(graphite("AB"), SOAP_OF_CARBON, 2)
    with pytest.raises(ValueError, match=r"expected a scale in \(0, 1\], got 0"):
        single_environments(bulk("C"), SOAP_OF_CARBON, 1, scale=0.0)
    with pytest.raises(ValueError, match="expected a crystal"):
        single_environments(Atoms("C"), SOAP_OF_CARBON, 1)


def test_each_copy_holds_its_environment_once_more() -> None:
    # With totals of structures of one size, k copies have k times the rigidity of one, up to the
    # prior.
    one = single_environments(bulk("C"), SOAP_OF_CARBON, 1)
    config = LocalConfig(targets="total", sigma_total=1e-4)
    found = []
    for copies in (1, 3):
        data = Environments.of(one * copies, SOAP_OF_CARBON, totals=[-14.0] * copies)
        model = train_local(data, "linear", config)
        found.append(LocalRigidity.of(model, data, config).local(data)[0])
    assert found[1] / found[0] == pytest.approx(3.0, rel=1e-3)
