"""Available memory, and arrays that are refused before they are made."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jaxrecon import Fingerprint, featurize
from jaxrecon.cli import main
from jaxrecon.datasets.sampling import furthest_points
from jaxrecon.descriptors import buckets
from jaxrecon.descriptors import featurize as featurizing
from jaxrecon.descriptors.io import read_fingerprints, write_fingerprints
from jaxrecon.plotting.explorer import project
from jaxrecon.runtime import memory
from jaxrecon.structures.io import write_structures

GIB = 2**30
ELEMENTS = ("H", "Li", "O", "Na", "Cl", "Ti", "Cu", "Pt")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A root directory that has 8 GiB available and no control groups."""
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    write(tmp_path / "proc/meminfo", f"MemTotal: 9999999999 kB\nMemAvailable: {8 * 2**20} kB\n")
    return tmp_path


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which every array is looked at, and none fits."""
    monkeypatch.setattr(memory, "ALWAYS", 0)
    monkeypatch.setattr(memory, "available_memory", lambda: 0)


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def crystals(count: int = 12) -> list[Atoms]:
    """Crystals of one to five elements, in which some elements come in any order."""
    random = np.random.default_rng(0)
    return [
        Atoms(
            random.choice(ELEMENTS, 1 + number % 5),
            scaled_positions=random.random((1 + number % 5, 3)),
            cell=[4.0, 4.2, 4.4],
            pbc=True,
        )
        for number in range(count)
    ]


def test_memory_of_a_machine(machine: Path) -> None:
    assert memory.available_memory() == 8 * GIB
    (machine / "proc/meminfo").unlink()
    assert memory.available_memory() is None


def test_groups_of_version_2_limit_what_is_in_them(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/user/job")
    groups = machine / "sys/fs/cgroup"
    write(groups / "user/job/memory.max", "max")
    write(groups / "user/job/memory.current", GIB)
    assert memory.available_memory() == 8 * GIB
    write(groups / "user/memory.max", 4 * GIB)
    write(groups / "user/memory.current", 3 * GIB)
    assert memory.available_memory() == GIB
    write(groups / "user/memory.stat", f"anon 5\ninactive_file {GIB}")
    assert memory.available_memory() == 2 * GIB
    write(groups / "user/job/memory.max", GIB // 2)
    assert memory.available_memory() == 0


@pytest.mark.parametrize("place", ["/docker/0123", "/"])
def test_groups_of_version_1(machine: Path, place: str) -> None:
    """A container sees its own group as the base, whatever its place on the host."""
    write(machine / "proc/self/cgroup", f"5:cpu:/\n4:memory:{place}\n0::/")
    groups = machine / "sys/fs/cgroup/memory"
    write(groups / "memory.limit_in_bytes", 2**63 - 4096)
    write(groups / "memory.usage_in_bytes", GIB)
    assert memory.available_memory() == 8 * GIB
    write(groups / "memory.limit_in_bytes", 3 * GIB)
    assert memory.available_memory() == 2 * GIB
    write(groups / "memory.stat", f"inactive_file 7\ntotal_inactive_file {GIB // 2}")
    assert memory.available_memory() == 2.5 * GIB


@pytest.mark.parametrize("text", ["", "nonsense", "MemAvailable: much kB", "MemAvailable:"])
def test_memory_that_can_not_be_read_is_unknown(machine: Path, text: str) -> None:
    write(machine / "proc/meminfo", text)
    write(machine / "proc/self/cgroup", text)
    assert memory.available_memory() is None
    memory.check_memory(2**62, "anything", "nothing")


def test_refusal_leaves_a_reserve(machine: Path) -> None:
    memory.check_memory(8 * GIB - memory.RESERVE, "numbers", "take fewer")
    expected = r"expected memory for numbers \(8.0 GiB\), got 7.0 GiB: take fewer"
    with pytest.raises(MemoryError, match=expected):
        memory.check_memory(8 * GIB, "numbers", "take fewer")
    write(machine / "proc/meminfo", "MemAvailable: 5 kB")
    memory.check_memory(memory.ALWAYS, "little", "nothing")


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("crystal", {"max_atoms": 3, "poolings": ("sorted",)}),
        ("crystal", {}),
        ("fung2022", {}),
    ],
)
def test_fingerprints_that_do_not_fit_are_refused_at_once(
    machine: Path, monkeypatch: pytest.MonkeyPatch, preset: str, settings: dict[str, object]
) -> None:
    """No names are made of millions of numbers, and no program."""
    for name in ("names", "features"):
        monkeypatch.setattr(Fingerprint, name, property(lambda self: pytest.fail("unneeded")))
    monkeypatch.setattr(featurizing, "buckets_of", lambda *_: pytest.fail("unneeded"))
    elements = Atoms(numbers=range(1, 90)).get_chemical_symbols()
    fingerprint = Fingerprint.preset(preset, elements, **settings)
    structures = [bulk("Pt")] * (9 * GIB // (8 * fingerprint.size))
    expected = rf"{len(structures)} fingerprints of {fingerprint.size} numbers \([89].\d GiB\), got"
    with pytest.raises(MemoryError, match=expected) as caught:
        featurize(structures, fingerprint)
    assert "gastegger2018" in str(caught.value)
    assert len(str(caught.value)) <= 280


@pytest.mark.usefixtures("command_line", "little")
def test_the_command_line_says_how_to_need_less(capsys: pytest.CaptureFixture[str]) -> None:
    write_structures("salt.cif", [bulk("NaCl", "rocksalt", a=5.64)])
    assert main.main(["fingerprint", "salt.cif", "-o", "salt.npz"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "1 fingerprints of 184 numbers (0.0 GiB), got 0.0 GiB" in line
    assert "--preset gastegger2018" in line
    assert "--elements" in line
    assert len(line) <= 300
    assert not Path("salt.npz").exists()


@pytest.mark.slow
def test_long_fingerprints_have_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They leave the device without zeros, sorted by the number of elements, in small calls."""
    whole = {"poolings": ("max", "min", "sorted", "mean"), "max_atoms": 5}
    for settings in (whole, {"per_element": False}):
        fingerprint = Fingerprint.preset("crystal", ELEMENTS, r_cut=4.0, **settings)
        expected = featurize(crystals(), fingerprint)
        with monkeypatch.context() as patch:
            patch.setattr(buckets, "LONG", 0)
            patch.setattr(featurizing, "LONG", 0)
            patch.setattr(featurizing, "IN_FLIGHT", 4 * 8 * 4 * fingerprint.size)
            patch.setattr(featurizing, "_compiled", featurizing._compiled.__wrapped__)
            found = featurize(crystals(), fingerprint)
            sorted_ = buckets.buckets_of(crystals(), fingerprint, None)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
        numbers = [{len(set(crystals()[i].numbers)) for i in b.members} for b in sorted_]
        assert sorted(map(sorted, numbers)) == [[1], [2], [3, 4]]


def test_long_fingerprints_of_given_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = Fingerprint.preset("crystal", ELEMENTS, r_cut=4.0)
    small = buckets.buckets_of(crystals(1), fingerprint, None)[0].bounds
    monkeypatch.setattr(featurizing, "LONG", 0)
    monkeypatch.setattr(featurizing, "_compiled", featurizing._compiled.__wrapped__)
    expected = r"expected bounds of at least .* for structure 1, got"
    with jax.debug_nans(False), pytest.raises(ValueError, match=expected):
        featurize([*crystals(1), *crystals()[4:5]], fingerprint, bounds=small)


def test_files_that_do_not_fit(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    fingerprint = Fingerprint.preset("crystal", ["Pt"])
    values = featurize(bulk("Pt"), fingerprint)
    write_fingerprints(tmp_path / "pt.npz", values, fingerprint)
    np.savetxt(tmp_path / "pt.csv", values, delimiter=",")
    assert read_fingerprints(tmp_path / "pt.npz").values.tolist() == values.tolist()
    request.getfixturevalue("little")
    for name in ("pt.npz", "pt.csv"):
        with pytest.raises(MemoryError, match=rf"expected memory for the .* of .*{name} \(0.0 GiB"):
            read_fingerprints(tmp_path / name)


@pytest.mark.usefixtures("little")
def test_work_that_copies_a_table_is_refused() -> None:
    values = np.random.default_rng(0).random((5, 3))
    with pytest.raises(MemoryError, match=re.escape("copies of 5 rows of 3 numbers")):
        furthest_points(values, 2)
    with pytest.raises(MemoryError, match=re.escape("a map of 5 fingerprints of 3 numbers")):
        project(values, "pca")


def test_all_rows_of_a_file_are_not_copied(tmp_path: Path) -> None:
    fingerprint = Fingerprint.preset("default", ["Pt"])
    write_fingerprints(tmp_path / "pt.npz", np.ones((3, fingerprint.size)), fingerprint)
    content = read_fingerprints(tmp_path / "pt.npz")
    assert content.select([0, 1, 2]).values is content.values
    assert len(content.select([2, 0])) == 2
