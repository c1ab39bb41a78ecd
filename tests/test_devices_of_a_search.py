"""What a search promises for other numbers of devices, and that the verbs use all devices."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from designing import trained

from jaxrecon.models.folder import save_model
from jaxrecon.search.compiled import mesh_shape

ROOT = Path(__file__).parents[1]

MESHES = """
import pickle, sys
import jax
jax.config.update("jax_num_cpu_devices", 3)
import numpy as np
from ase.build import molecule
from jax.sharding import Mesh
import jaxrecon
from jaxrecon.search import reconstruct as searching

nitrile = molecule("CH3CN")
descriptor = jaxrecon.ACSF(
    "CHN", 5.0, g2_eta=(1.0,), g2_r_s=(1.0, 2.0, 3.0), g5_zeta=(1,), g5_eta=(0.1,))
fingerprint = jaxrecon.Fingerprint(descriptor)
target = jaxrecon.featurize(nitrile, fingerprint)
found = []
for chosen in ([0], [0, 1], [1, 2]):
    devices = np.asarray(jax.local_devices())[chosen].reshape(1, -1)
    searching.device_mesh = lambda *_: Mesh(devices, ("targets", "replicas"))
    jaxrecon.reconstruct(
        target, fingerprint, symbols=str(nitrile.symbols), seed=3, hops=1, refine_steps=1,
        candidates=2, polish_steps=1, replicas=16,
        watch=lambda _, residuals: found.append(residuals))
with open(sys.argv[1], "wb") as file:
    pickle.dump(found, file)
"""

VERBS = """
import shlex, sys
import jax
from jaxrecon.cli import main, options

def started():
    # JAX refuses this once it has started.
    jax.config.update("jax_num_cpu_devices", 3)
    raise OSError("not started before")

options.start_jax = started
for line in sys.argv[1:]:
    print(line, main.main(shlex.split(line)))
"""


def python(code: str, *arguments: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=directory,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_two_of_three_cores_divide_sixteen_replicas() -> None:
    shapes = [mesh_shape(cores, "cpu", 16, targets=4) for cores in (1, 2, 3)]
    assert shapes == [(1, 1), (1, 2), (1, 2)]


@pytest.mark.slow
def test_replicas_differ_by_round_off_on_more_devices(tmp_path: Path) -> None:
    """They start at the same places; which devices they are on does not matter."""
    child = python(MESHES, tmp_path / "found", directory=tmp_path)
    assert child.returncode == 0, child.stderr
    alone, pair, other_pair = pickle.loads((tmp_path / "found").read_bytes())
    assert len(alone) == 16
    np.testing.assert_array_equal(pair, other_pair)
    np.testing.assert_allclose(alone, pair, rtol=1e-3)


def test_verbs_start_jax_with_all_devices(tmp_path: Path) -> None:
    """Nothing that they read before makes JAX start with a single device."""
    save_model(trained(), tmp_path / "model")
    (tmp_path / "h2.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    (tmp_path / "fp.csv").write_text(",".join(["0.5"] * 380) + "\n")
    lines = [
        "fingerprint h2.xyz -o fp.npz",
        "reconstruct fp.csv --symbols Pt4 --preset fung2022 -o found.extxyz",
        "dataset build --symbols Pt4 --size 5 -o built.npz",
        "dataset sample pt10_pbe -n 2 -o sampled.npz",
        "train pt10_pbe -o trained",
        "generate model --target 3 -o made.extxyz",
        "design pt10_pbe --target 2 -o loop",
        "evaluate table1 model",
        "explore pt10_pbe -o page.html",
        "demo",
    ]
    child = python(VERBS, *lines, directory=tmp_path)
    assert child.stdout.splitlines() == [f"{line} 2" for line in lines], child.stderr
    assert child.stderr.count("not started before") == len(lines)
