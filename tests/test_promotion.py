"""Types of numbers: nothing relies on JAX's promotion of them, which a user may forbid.

The same programs are searched for matrix products without full precision.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from products import lines_of, rounded

COMMON = """
import warnings
warnings.simplefilter("ignore")
import jax
assert jax.config.jax_numpy_dtype_promotion == "strict"
import numpy as np
from ase.build import bulk, molecule
from jaxrecon import ACSF, Fingerprint, ReconstructConfig, featurize, generate, reconstruct, train

SEARCH = ReconstructConfig(hops=2, replicas=4, refine_steps=2, polish_steps=1, restart_after=1)
"""
SEARCHES = """
water, salt = molecule("H2O"), bulk("NaCl", "rocksalt", a=5.6)
small = Fingerprint(ACSF("HO", 5.0, g2_eta=(1.0,), g2_r_s=(1.0, 2.0), g5_zeta=(1,), g5_eta=(0.1,)))
targets = featurize(water, small)
known = [np.where([[True], [False], [False]], water.positions, np.nan)]
reconstruct(targets, small, symbols="OH2", adam_steps=1, positions=known, config=SEARCH)
crystal = Fingerprint(ACSF(["Na", "Cl"], 4.0, g2_eta=(1.0,), g5_zeta=(1,), g5_eta=(0.1,)))
targets = featurize(salt, crystal)
reconstruct(targets, crystal, symbols="NaCl", cell="unknown", min_distance=0.3, config=SEARCH)
"""
LEARNING = """
from designing import LEARNING, labelled
network = {"surrogate": "network", "scaling": "minmax", "members": 2}
network["surrogate_fit"] = LEARNING.generator_fit
for changes in ({}, network):
    model = train(labelled(), LEARNING.replace(**changes))
    generate(model, 3.0, 2, search=SEARCH)
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [SEARCHES, LEARNING], ids=["searches", "learning"])
def test_a_session_without_promotion(code: str, tmp_path: Path) -> None:
    folder = Path(__file__).parent
    environment = {
        **os.environ,
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DUMP_IR_TO": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(folder), str(folder.parent)]),
    }
    result = subprocess.run(
        [sys.executable, "-c", COMMON + code], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    programs = [path.read_text() for path in tmp_path.glob("*.mlir")]
    assert sum(len(lines_of(program)) for program in programs) > 50
    assert not [line for program in programs for line in rounded(program)]
