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
# # A fingerprint and its inverse
#
# A cluster goes to 380 numbers that know nothing of its orientation or the order of its atoms; from
# these numbers and the formula alone its structure comes back.

# %%
import jaxrecon

print(jaxrecon.use_all_cores(), "CPU cores in use")  # before anything else uses JAX

# %% [markdown]
# `fung2022` names the numbers of Fung et al. (2022): the largest (`max`) and the smallest (`min`)
# values, over all atoms, of functions of the distances (G2) and angles (G5) to their neighbours.
# Widths `eta` are in 1/Å² and distances `r_s` in Å. `help(jaxrecon.Fingerprint.preset)` lists other
# sets of numbers.

# %%
from jaxrecon.datasets import clusters

cluster = clusters.relaxed("Pt10", seed=3)
fingerprint = jaxrecon.Fingerprint.preset("fung2022", elements=["Pt"])
target = jaxrecon.featurize(cluster, fingerprint)
target.shape, fingerprint.names[:2], fingerprint.names[-1]

# %%
run = jaxrecon.reconstruct(target, fingerprint, symbols="Pt10", tolerance=1e-7, seed=0)
print(run)

# %% [markdown]
# The *residual* is the mean absolute difference between the 380 numbers of the structure that was
# found and those that were wanted. At 1e-16 it is the rounding error of double precision: both have
# the same fingerprint. `error` says, without knowing the truth, how far an atom may be off in Å. A
# *hop* moves the atoms of all candidates at random and follows each downhill; `evaluations` counts
# how often the fingerprint was computed.
#
# Here the truth is known: the deviation from it, after superposing both by any rotation, mirror
# image and numbering of the atoms.

# %%
found = run[0]
deviation = jaxrecon.rmsd(cluster, found.atoms)
print(f"residual {found.residual:.1e}, RMSD {deviation:.1e} Å")
assert found.code is jaxrecon.ResultCode.CONVERGED
assert deviation < 1e-3

# %%
import matplotlib.pyplot as plt

from jaxrecon.plotting.structure import draw_structure

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
left.plot(target[0], color="0.3", lw=0.8)
left.set(title="the fingerprint", xlabel="number", ylabel="value")
aligned = jaxrecon.align(cluster, found.atoms)
for ax, atoms, title in ((middle, cluster, "the cluster"), (right, aligned, "found")):
    draw_structure(atoms, ax)
    ax.set(title=title, xticks=[], yticks=[])

# %% [markdown]
# ## Molecules of your own
#
# `default` is the fingerprint that is the easiest to invert, the one to begin with. It has numbers
# for every element and pair of elements: 46 for one, 630 for three.

# %%
from ase.build import molecule

molecules = [molecule("CH3CH2OH"), molecule("CH3COOH")]
# From a file: import ase.io; molecules = ase.io.read("mine.xyz", ":")  # ":" is all frames
elements = {symbol for atoms in molecules for symbol in atoms.symbols}
own = jaxrecon.Fingerprint.preset("default", elements=elements)
numbers = jaxrecon.featurize(molecules, own)  # a NumPy array, one row each
formulas = [atoms.symbols for atoms in molecules]
again = jaxrecon.reconstruct(numbers, own, symbols=formulas, seed=0)
for atoms, result in zip(molecules, again, strict=True):
    name = atoms.get_chemical_formula()
    print(name, result.code.name, f"RMSD {jaxrecon.rmsd(atoms, result.atoms):.0e} Å")

# %% [markdown]
# ## Derivatives
#
# For those who write JAX: the fingerprint is a pure function, which `jax.grad`, `jax.vmap` and
# `jax.jit` transform. It takes a `Structure`: positions in Å, atomic numbers (`species`), and a
# `mask` that tells atoms from padding. JAX computes in single precision here, which leaves 1e-7.

# %%
import jax
import jax.numpy as jnp

structure = jaxrecon.from_ase(cluster)


def loss(positions):
    moved = jaxrecon.Structure(positions, structure.species, structure.mask)
    return jnp.abs(fingerprint(moved) - target[0].astype(positions.dtype)).mean()


value, slope = jax.jit(jax.value_and_grad(loss))(structure.positions)
print(f"loss at the truth {value:.1e}, gradient of shape {slope.shape}")

# %% [markdown]
# [Notebook 3](3_crystals.py) has crystals, which need a cell: `cell=atoms.cell`, or
# `cell="unknown"` to find it too. [Notebook 4](4_inverse_design.py) makes clusters for a wanted
# energy, [notebook 9](9_how_sure.py) says how sure a result is, also for numbers with errors
# (`noise=`).
#
# **Exercise.** Do the same with a file of your own, and with the preset `soap`. Then give the
# search for the cluster a wrong formula, `symbols="Pt9"`, and `patience=20`, so that it gives up
# after 20 hops without progress: `progress=True` shows that it works. What does the result say?
