"""Maps of the environments of atoms: what colours them, what is on them, and the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from commands import run

from jaxrecon import SOAP
from jaxrecon.models.local.atom_maps import (
    atom_map,
    coordinations,
    drawn,
    reference_crystals,
    similarities,
)
from jaxrecon.models.local.environments import Environments

CARBON = SOAP(("C",), r_cut=3.7, n_max=4, l_max=3)


def crystals(count: int = 4) -> list[Atoms]:
    found = []
    for crystal in reference_crystals(["C"]).values():
        for seed in range(count):
            atoms = crystal * (2, 2, 1)
            atoms.rattle(0.02, seed=seed)
            found.append(atoms)
    return found


def test_numbers_of_bonds() -> None:
    molecules = [molecule("CH4"), bulk("NaCl", "rocksalt", a=5.64)]
    assert coordinations(molecules).tolist() == [4, 1, 1, 1, 1, 6, 6]
    diamond, graphite = reference_crystals(["C"]).values()
    assert set(coordinations([diamond])) == {4}
    assert set(coordinations([graphite])) == {3}


def test_atoms_of_a_crystal_are_similar_to_it() -> None:
    references = reference_crystals(["C"])
    rows = Environments.of(crystals(1), CARBON, totals=[0.0, 0.0]).rows
    found = similarities(rows, CARBON, references)
    assert (found["diamond"][:8] > 0.98).all()
    assert (found["diamond"][8:] < 0.9).all()
    assert (found["graphite"][8:] > 0.98).all()
    assert all((array <= 1.0 + 1e-12).all() for array in found.values())


def test_elements_without_a_reference_crystal_are_left_out() -> None:
    assert list(reference_crystals(["H", "C", "S", "Pt"])) == ["diamond", "graphite", "Pt fcc"]


def test_whole_structures_are_drawn() -> None:
    known = Environments.of(crystals(), CARBON, totals=[0.0] * 8)
    assert drawn(known, 1000, 0) is known
    part = drawn(known, 40, 1)
    sizes = np.bincount(part.owner)
    assert set(sizes) <= {8, 16}
    assert 16 < len(part.rows) <= 40
    assert len(drawn(known, 3, 0).trajectories) == 1


def test_crystals_are_apart_on_a_map() -> None:
    pytest.importorskip("umap", reason="needs umap-learn")
    known = Environments.of(crystals(), CARBON, totals=[0.0] * 8)
    points, clusters = atom_map(known.rows, clusters=3, seed=3)
    assert points.shape == (96, 2)
    # Graphite has two kinds of atoms, whose environments differ.
    counts = np.bincount(clusters)
    assert list(counts) == sorted(counts, reverse=True)
    assert not set(clusters[:32]) & set(clusters[32:])
    again = atom_map(known.rows, clusters=3, seed=3)
    np.testing.assert_array_equal(points, again.points)
    with pytest.raises(ValueError, match="expected at least 7 atoms for a map, got 6"):
        atom_map(known.rows[:6])


@pytest.mark.usefixtures("command_line")
def test_a_map_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("umap", reason="needs umap-learn")
    write("c.extxyz", crystals())
    assert run("evaluate map c.extxyz -o map.png") == 0
    assert "96 atoms of 8 structures" in capsys.readouterr().out
    assert Path("map.png").read_bytes().startswith(b"\x89PNG")
    pytest.importorskip("chemiscope")
    assert run("evaluate map c.extxyz -o map.html --size 60") == 0
    assert '"target": "atom"' in Path("map.html").read_text()


@pytest.mark.usefixtures("command_line")
def test_what_a_page_needs_is_asked_for_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise ValueError("expected the package chemiscope, got none")

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("worked before")

    monkeypatch.setattr("jaxrecon.models.local.atom_maps.check_umap", lambda: None)
    monkeypatch.setattr("jaxrecon.plotting.explorer.check_packages", lacking)
    monkeypatch.setattr("jaxrecon.cli.local._environments", worked)
    write("c.extxyz", crystals(1))
    assert run("evaluate map c.extxyz -o map.html") == 2
    assert "expected the package chemiscope, got none" in capsys.readouterr().err


@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "expected --output with a picture"),
        ("-o map.png --kind linear", "expected --kind network for a map, got linear"),
        ("-o c.extxyz", "c.extxyz"),
    ],
)
def test_bad_maps_are_refused(more: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("c.extxyz", crystals(1))
    assert run(f"evaluate map c.extxyz {more}") == 2
    assert message in capsys.readouterr().err
