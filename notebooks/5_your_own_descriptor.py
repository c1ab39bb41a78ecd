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
# # Your own descriptor
#
# Write a pure function of what one atom sees, and it has an inverse. Pooling, batches, crystals
# with all images, the search: everything else is there. JAX takes the derivatives.

# %%
import jaxrecon

jaxrecon.use_all_cores()

# %% [markdown]
# ## The function
#
# It gets, neighbour by neighbour, distances `r` in Å, unit vectors `direction`, a smooth `cutoff`
# and, in `channel[:, 0]`, atomic numbers, and returns a row of numbers. Neighbours have to count by
# their cutoff, which is 0 for padding.
#
# The one here is a power spectrum in moments: radial functions of four shells, summed over the
# neighbours as they are, with their directions and with the tensor of their directions; the square
# of each sum does not change when the atoms turn.

# %%
import jax.numpy as jnp

SHELLS = jnp.array([1.5, 2.5, 3.5, 4.5])


def moments(seen):
    """Eighteen numbers: four shells by the orders 0, 1 and 2, and how dipoles point."""
    weight = seen.cutoff * jnp.sqrt(seen.channel[:, 0]) / 5
    shells = jnp.exp(-((seen.r[:, None] - SHELLS) ** 2)) * weight[:, None]
    monopole = shells.sum(0)
    dipole = jnp.einsum("mn,ma->na", shells, seen.direction)
    quadrupole = jnp.einsum("mn,ma,mb->nab", shells, seen.direction, seen.direction)
    cross = (dipole[:, None] * dipole[None, :]).sum(-1)[jnp.triu_indices(4, 1)]
    return jnp.concatenate([monopole, (dipole**2).sum(1), cross, (quadrupole**2).sum((1, 2))])


# %%
def fingerprint_of(atoms):
    descriptor = jaxrecon.Custom(moments, elements=set(atoms.symbols), r_cut=6.0)
    return jaxrecon.Fingerprint(descriptor, poolings=("mean", "moment2"), per_element=True)


# %% [markdown]
# ## A function that is no descriptor is refused
#
# Its first call is with the same neighbours twice: turned, in another order, with padding.


# %%
def sees_directions(seen):
    return seen.cutoff @ seen.direction


try:
    jaxrecon.Custom(sees_directions, elements=["Pt"])
except ValueError as error:
    print(error)

# %% [markdown]
# ## Its inverse: a cluster, a molecule, a crystal

# %%
from ase.build import bulk, molecule

from jaxrecon.datasets import clusters

structures = [
    clusters.relaxed("Pt7", seed=3),
    molecule("CH3OH"),
    bulk("ZnO", "wurtzite", a=3.25, c=5.207),
]
fingerprints = [fingerprint_of(atoms) for atoms in structures]
targets = [
    jaxrecon.featurize(atoms, fingerprint)[0]
    for atoms, fingerprint in zip(structures, fingerprints, strict=True)
]
print("numbers a structure:", [fingerprint.size for fingerprint in fingerprints])

# %%
history = []
run = jaxrecon.reconstruct(
    targets,
    fingerprints,
    symbols=[atoms.get_chemical_formula() for atoms in structures],
    cell=[atoms.cell.array if atoms.pbc.all() else None for atoms in structures],
    watch=lambda target, residuals: history.append((target, residuals)),
    seed=0,
)
run

# %%
from jaxrecon.structures import compare

for atoms, result in zip(structures, run, strict=True):
    match = compare.match(atoms, result.atoms)
    print(
        f"{atoms.get_chemical_formula():<8} residual {result.residual:.0e}  "
        f"RMSD {match.rmsd:.0e} Å  {'match' if match.tight else 'no match'}"
    )
    assert match.tight

# %%
from jaxrecon.plotting.residuals import ResidualCurves, residual_curves

cluster = [residuals for target, residuals in history if target == 0]
residual_curves(ResidualCurves(cluster, run.config.tolerance, title="Pt7 from 36 numbers"))

# %% [markdown]
# ## What a fingerprint can't see
#
# Several structures may have one fingerprint. Here are two rings of three atoms, the upper one
# turned, and an atom on their axis, above or below. The mean over all atoms of any function of
# distances and angles is the same for both, also that of SOAP. No model that learns from this mean
# can tell them apart. The variance can.

# %%
import numpy as np
from ase import Atoms


def rings(apex: float) -> Atoms:
    angles = np.array([0.3, 1.9, 3.6])
    above = [2.2 * np.cos(angles), 2.2 * np.sin(angles), np.full(3, 1.1)]
    below = [2.2 * np.cos(angles + 0.7), 2.2 * np.sin(angles + 0.7), np.full(3, -1.1)]
    return Atoms("C7", [*np.transpose(above), *np.transpose(below), (0, 0, apex)])


above, below = rings(2.4), rings(-2.4)
mean = jaxrecon.Fingerprint.preset("soap", "C", poolings=("mean",))
both = jaxrecon.Fingerprint.preset("soap", "C")
print(f"RMSD {jaxrecon.rmsd(above, below):.3f} Å")
for name, fingerprint in (("mean", mean), ("mean and variance", both)):
    one, other = jaxrecon.featurize([above, below], fingerprint, dtype=np.float64)
    print(f"{name}: largest difference {np.abs(one - other).max():.0e}")

# %% [markdown]
# `degenerate_structures` searches for the other structures with the fingerprint of one of your own.

# %%
(found,) = jaxrecon.degenerate_structures(above, mean, hops=20)
print(f"RMSD {found.info['rmsd']:.3f} Å, from the other {jaxrecon.rmsd(found, below):.0e} Å")
assert jaxrecon.rmsd(found, below) < 1e-3

# %% [markdown]
# ## What to know
#
# * Numbers of order 1, please: the tolerance, 1e-6, is absolute.
# * Fewer numbers than unknowns (3 n - 6 for n free atoms) have no one inverse.
# * Define a function once. Compiled programs are kept by function, and one that is made anew in
#   every call is compiled anew.
# * Where your constants vary, make it a frozen dataclass with `__call__`: equal ones are the same
#   descriptor.
# * The settings of a fingerprint are written into every file and read back. A function is found
#   again by `module:name`, if it can be imported.
#
# **Exercise.** Write a descriptor of distances alone, without angles. Which clusters can it invert,
# and how many displacements does `jaxrecon.certificates` say that it does not see?
