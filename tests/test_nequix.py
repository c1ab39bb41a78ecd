"""Nequix in batches: the numbers of its own calculator, and names that are refused in one line.

Most tests have a small network with random weights; it computes what the large ones do.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read

from jaxrecon.potentials import in_jax, registry
from jaxrecon.potentials.judge import judge
from jaxrecon.potentials.single_points import single_points

SETTINGS: dict[str, Any] = {
    "atomic_numbers": [78, 6, 14],
    "hidden_irreps": "8x0e + 4x1o",
    "lmax": 1,
    "cutoff": 4.0,
    "n_layers": 2,
    "radial_basis_size": 4,
    "radial_mlp_size": 8,
    "radial_mlp_layers": 1,
    "radial_polynomial_p": 6.0,
    "mlp_init_scale": 4.0,
    "index_weights": False,
    "layer_norm": True,
    "shift": -4.0,
    "scale": 0.8,
    "avg_n_neighbors": 9.0,
    "kernel": True,
    "atom_energies": {"6": -1.0, "14": -2.0, "78": -3.0},
}
"""Settings as a file has them."""


@pytest.fixture
def installed() -> None:
    if in_jax.NequixReference.missing() is not None:
        pytest.skip("needs the package nequix")
    registry.reference_calculator.cache_clear()


@pytest.fixture
def small(tmp_path: Path, installed: None) -> Path:
    """The file of a small network."""
    from jaxrecon.potentials import nequix

    nequix.import_package()
    from nequix.model import Nequix, save_model

    own = {"atomic_numbers", "atom_energies", "kernel"}
    settings = {name: value for name, value in SETTINGS.items() if name not in own}
    with nequix._as_trained():
        model = Nequix(jax.random.key(1), 3, atom_energies=[-1.0, -2.0, -3.0], **settings)
    save_model(tmp_path / "small.nqx", model, SETTINGS)
    return tmp_path / "small.nqx"


def rattled(atoms: Atoms, seed: int = 0) -> Atoms:
    copy = atoms.copy()
    copy.rattle(0.05, seed=seed)
    return copy


CLUSTER = Atoms("PtC3Pt", [[0, 0, 0], [2, 0, 0.1], [0.2, 2, 0], [0, 1.9, 1.8], [9, 0, 0]])


def check_against_its_own(path: Path, given: list[Atoms]) -> None:
    """Compare energies, forces and stress with those of the package's calculator."""
    pytest.importorskip("matscipy")
    before = getattr(jax.config, "jax_default_matmul_precision", None)
    reference = registry.reference_calculator(f"nequix:{path}")
    assert getattr(jax.config, "jax_default_matmul_precision", None) == before
    found = single_points(given, reference.potential)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        from nequix.calculator import NequixCalculator

        own = NequixCalculator(model_path=str(path), use_kernel=False)
        for point, atoms in zip(found, given, strict=True):
            copy = atoms.copy()
            copy.calc = own
            assert point.energy == pytest.approx(copy.get_potential_energy(), rel=2e-6)
            np.testing.assert_allclose(point.forces, copy.get_forces(), atol=2e-5)
            assert point.energies.sum() == pytest.approx(point.energy)
            if atoms.pbc.all():
                np.testing.assert_allclose(point.stress, copy.get_stress(), atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("strict_types")
def test_energies_forces_and_stress_are_those_of_its_own_calculator(small: Path) -> None:
    crystals = [rattled(bulk("SiC", "zincblende", a=4.36)), rattled(bulk("C", cubic=True))]
    check_against_its_own(small, [*crystals, CLUSTER])


@pytest.mark.slow
def test_published_weights(data: Path, installed: None) -> None:
    """One cluster; benchmarks/potentials.py has crystals too."""
    weights = data.resolve().parent / "models" / "nequix-oam-1-pft.nqx"
    if not weights.is_file():
        pytest.skip(f"needs {weights}")
    check_against_its_own(weights, [read(data / "pt10_pbe1000.extxyz", 0)])


@pytest.mark.slow
def test_lone_and_coincident_atoms_and_lacking_elements(small: Path) -> None:
    name = f"nequix:{small}"
    given = [
        Atoms("Pt"),
        Atoms("Pt2", [[0.0, 0.0, 0.0], [0.0, 0.0, 4.0]]),
        Atoms("Pt2", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        Atoms("Po"),
    ]
    judged = judge(given, name, bulk={"Pt": -6.0, "Po": 0.0})
    assert judged.failures == {3: "ValueError: expected elements among C, Si, Pt, got Po"}
    one, apart, coincident = (judged[number].calc.results for number in range(3))
    assert apart["energy"] == pytest.approx(2 * one["energy"], rel=1e-6)
    np.testing.assert_allclose(apart["energies"], one["energy"], rtol=1e-6)
    assert np.isfinite(coincident["forces"]).all()
    settings = judged.metadata["calculator"]
    assert (settings["calculator"], settings["file"]) == ("nequix", "small.nqx")


@pytest.mark.usefixtures("installed")
def test_files_that_have_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected nequix:FILE.nqx with a file of weights, got"):
        registry.reference_calculator("nequix")
    with pytest.raises(FileNotFoundError, match=r"a file for the calculator nequix, got no\.nqx"):
        registry.reference_calculator("nequix:no.nqx")
    for number, content in enumerate((b"", b"\x93NUMPY", b"[1]\n", b'{"atomic_numbers": [1]}\n')):
        path = tmp_path / f"{number}.nqx"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"the weights of a Nequix network \(.nqx\), got") as e:
            registry.reference_calculator(f"nequix:{path}")
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("package", ["nequix", "equinox", "e3nn_jax", "jraph"])
def test_each_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found("ase")
    )
    lack = in_jax.NequixReference.missing()
    assert lack is not None
    assert lack.requirement == f"the package {package}"
    assert lack.command == 'pip install "jaxrecon[nequix]" && pip install --no-deps nequix'
