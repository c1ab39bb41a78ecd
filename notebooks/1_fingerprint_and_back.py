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
