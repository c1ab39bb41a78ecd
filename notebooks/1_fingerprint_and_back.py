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

jaxrecon.use_all_cores()

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
# A mean absolute residual at the level of round-off certifies the solution. The deviation from the
# truth, least over rotations, reflections, translations and the order of the atoms:

# %%
found = run[0]
deviation = jaxrecon.rmsd(cluster, found.atoms)
print(f"residual {found.residual:.1e}, RMSD {deviation:.1e} Å")
assert found.code is jaxrecon.ResultCode.CONVERGED
assert deviation < 1e-3

# %% [markdown]
# ## Molecules of your own
#
# `default` is the fingerprint that is the easiest to invert; it has numbers for each element.
# `ase.io.read("molecules.xyz", ":")` would read the molecules from a file.

# %%
from ase.build import molecule

molecules = [molecule("CH3CH2OH"), molecule("CH3COOH")]
own = jaxrecon.Fingerprint.preset("default", elements=["H", "C", "O"])
numbers = jaxrecon.featurize(molecules, own)  # a NumPy array, one row each
formulas = [atoms.symbols for atoms in molecules]
again = jaxrecon.reconstruct(numbers, own, symbols=formulas, seed=0)
for atoms, result in zip(molecules, again, strict=True):
    print(atoms.symbols, result.code.name, f"RMSD {jaxrecon.rmsd(atoms, result.atoms):.0e} Å")

# %% [markdown]
# ## Derivatives
#
# The fingerprint is a pure function: `jax.grad`, `jax.vmap` and `jax.jit` transform it.

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
# Notebook 3 has crystals, 4 makes clusters for a wanted energy, 9 says how sure a result is.
#
# **Exercise.** Do the same with a file of your own, and with the preset `soap`. Then give the
# search the wrong formula. What does the result say?
