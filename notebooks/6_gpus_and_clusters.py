# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # GPUs and clusters
#
# The same lines are for the cores of a CPU, for GPUs and for many machines. What is printed below
# was run on a CPU; what differs elsewhere is said where it does.
#
# ## Devices

# %%
import jaxrecon

print(jaxrecon.use_all_cores(), "devices")

# %%
import jax

for device in jax.local_devices():
    print(device.platform, device.device_kind, device.id)

# %% [markdown]
# `use_all_cores()` makes each core of a CPU a device. With `pip install "jax[cuda12]"` and a GPU
# the list has the GPUs instead and the call leaves them as they are: nothing else changes. Replicas
# and targets are spread over the devices like this (rows of targets, columns of replicas):

# %%
from jaxrecon.search.compiled import mesh_shape

for devices, platform, targets in [(2, "cpu", 100), (8, "gpu", 100), (8, "gpu", 4), (8, "gpu", 1)]:
    rows, columns = mesh_shape(devices, platform, replicas=64, targets=targets)
    print(f"{devices} of {platform}, {targets:>3} targets: {rows} x {columns}")

# %% [markdown]
# `jaxrecon doctor` says what there is and tries it. Compiled programs are kept on disk for the next
# process by `enable_compilation_cache()`, which the command line calls by itself.
#
# ## A run that may be interrupted

# %%
from pathlib import Path
from tempfile import mkdtemp

from jaxrecon.datasets import clusters

folder = Path(mkdtemp())
structures = [clusters.random_cluster("Pt5", seed=seed) for seed in range(6)]
fingerprint = jaxrecon.Fingerprint.preset("default", ["Pt"])
targets = jaxrecon.featurize(structures, fingerprint)

# %% [markdown]
# Every target is committed to an ASE database the moment it ends. Here the run is stopped, as by
# Ctrl-C, once three have ended:

# %%
ended = 0


def stopped(targets_ended, evaluations):
    global ended
    ended += targets_ended
    if ended == 3:
        raise KeyboardInterrupt


store = jaxrecon.Store(folder / "found.db")
try:
    jaxrecon.reconstruct(targets, fingerprint, symbols="Pt5", store=store, progress=stopped)
except KeyboardInterrupt:
    print(store.committed, "targets are kept")

# %% [markdown]
# The same call with `resume=True` goes on from there, and gives what a run without interruption
# gives, to the last bit:

# %%
import numpy as np

store = jaxrecon.Store(folder / "found.db", resume=True)
resumed = jaxrecon.reconstruct(targets, fingerprint, symbols="Pt5", store=store)
whole = jaxrecon.reconstruct(targets, fingerprint, symbols="Pt5")
for one, other in zip(resumed, whole, strict=True):
    assert np.array_equal(one.atoms.positions, other.atoms.positions)
resumed

# %% [markdown]
# The database is one of ASE; `ase db found.db` or `ase gui found.db` read it while the run goes on.
# `postgresql://...` in place of the file serves machines without a common disk.

# %%
from ase.db import connect

with connect(folder / "found.db") as database:
    for row in database.select(limit=3):
        print(row.target, row.formula, row.result_code, f"{row.residual:.0e}", row.hops, "hops")

# %% [markdown]
# ## Many processes
#
# `--distributed` shares the targets among processes, each with its own devices. Under SLURM or Open
# MPI they find each other:
#
# ```console
# srun --ntasks=8 --gpus-per-task=1 jaxrecon reconstruct fp.npz -o found.extxyz --distributed auto
# ```
#
# Here two processes on this machine, where they meet told by hand:

# %%
import os
import socket
import subprocess

from jaxrecon.descriptors.io import write_fingerprints

write_fingerprints(folder / "fp.npz", targets, fingerprint, structures)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]

command = ["jaxrecon", "reconstruct", "fp.npz", "-o", "found.extxyz"]
command += ["--quiet", "--store", "shared.db"]
processes = [
    subprocess.Popen(
        [*command, "--distributed", f"127.0.0.1:{port},2,{number}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    for number in range(2)
]
told = [process.communicate()[0] for process in processes]
print(told[0])
assert [process.returncode for process in processes] == [0, 0]

# %% [markdown]
# A target's answer depends on the seed and its index, not on how many processes or devices there
# are, but for round-off of programs that were compiled for others:

# %%
import ase.io

for one, other in zip(ase.io.read(folder / "found.extxyz", ":"), whole, strict=True):
    print(f"{jaxrecon.rmsd(one, other.atoms):.0e} Å", end="  ")
    assert jaxrecon.rmsd(one, other.atoms) < 1e-3

# %% [markdown]
# ## Judges and data sets: joblib
#
# Energies by ASE's calculators are independent calls, spread by joblib: `jobs=` processes of this
# machine, or whatever backend `joblib.parallel_config` is set to: joblib has some for clusters.
# EMT stands for any of the calculators here.
#
# These processes are started afresh. Do the same in pools of your own: JAX runs threads, and a
# process that is forked after JAX has computed anything hangs when it uses JAX. `fork` is the
# default on Linux before Python 3.14; `multiprocessing.get_context("spawn").Pool()` is safe, as is
# `ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))`.

# %%
import joblib

from jaxrecon.potentials.judge import judge

print(judge([result.atoms for result in whole], "emt", jobs=2))
with joblib.parallel_config(backend="threading", n_jobs=2):
    print(judge([result.atoms for result in whole], "emt"))

# %% [markdown]
# ## What changes on a GPU
#
# * `pip install "jax[cuda12]"` beside jaxrecon.
# * `use_all_cores()` has no effect on GPUs and may stay.
# * A CPU searches one target at a time, its replicas on all cores; a GPU as many at once as a third
#   of its memory holds. Give it many targets in one call.
# * `jaxrecon reconstruct ...` is the same; on many nodes with `srun ... --distributed auto`.
#
# **Exercise.** Stop the first search after two targets in place of three, and continue it with
# another seed. What does the store say?
