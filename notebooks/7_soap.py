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
# # SOAP, and what a fingerprint can't see
#
# SOAP describes an atom by the power spectrum of the density around it. Like symmetry functions it
# is a row of numbers for each atom, and like theirs its rows are pooled and inverted.

# %%
import jaxrecon

jaxrecon.use_all_cores()

# %%
from jaxrecon.datasets import clusters

cluster = clusters.relaxed("Pt10", seed=0)
mean = jaxrecon.Fingerprint.preset("soap", ["Pt"], n_max=6, l_max=4, poolings=("mean",))
run = jaxrecon.reconstruct(jaxrecon.featurize(cluster, mean), mean, symbols="Pt10", seed=0)
print(run)
print(f"{jaxrecon.rmsd(cluster, run[0].atoms):.1e} Å from the truth")

# %% [markdown]
# The mean over ten atoms alone, 105 numbers, gives all ten atoms back.
#
# ## Two structures with one fingerprint
#
# A row sees pairs of neighbours: distances and angles, and nothing of three neighbours at once. So
# there are structures that differ although the rows of all their atoms have the same mean. Here
# is a pair: two rings of three atoms, turned against each other, with an apex above or below them.

# %%
import numpy as np
from ase import Atoms


def rings(apex):
    angles = np.array([0.3, 1.9, 3.6])
    above = np.stack([2.2 * np.cos(angles), 2.2 * np.sin(angles), np.full(3, 1.1)], axis=1)
    turned = angles + 0.7
    below = np.stack([2.2 * np.cos(turned), 2.2 * np.sin(turned), np.full(3, -1.1)], axis=1)
    return Atoms("C7", [*above, *below, (0, 0, apex)])


pair = [rings(2.4), rings(-2.4)]
soap = jaxrecon.SOAP(("C",), r_cut=6.0, n_max=4, l_max=3)
for pooling in ("mean", "moment2"):
    one, other = jaxrecon.featurize(pair, jaxrecon.Fingerprint(soap, (pooling,)), dtype=np.float64)
    print(f"{pooling}: largest difference {np.abs(one - other).max():.1e}")
print(f"the structures: {jaxrecon.rmsd(*pair):.3f} Å apart")

# %% [markdown]
# The means are equal to round-off, the variances are not: mean and variance together tell the two
# apart. The search knows nothing of how the pair was made, and finds the other one from the first.

# %%
blind = jaxrecon.Fingerprint(soap, ("mean",))
(found,) = jaxrecon.degenerate_structures(pair[0], blind, hops=20, seed=1)
print(
    f"residual {found.info['residual']:.0e}, {found.info['rmsd']:.3f} Å from the first structure,"
)
print(f"{jaxrecon.rmsd(found, pair[1]):.0e} Å from the second")
assert jaxrecon.rmsd(found, pair[1]) < 1e-3

# %%
from jaxrecon.plotting.canvas import Canvas

figure = Canvas(7.0, 3.0)
ax = figure.subplots()
for pooling, marker in (("mean", "o"), ("moment2", "^")):
    one, other = jaxrecon.featurize(pair, jaxrecon.Fingerprint(soap, (pooling,)), dtype=np.float64)
    ax.semilogy(np.abs(one - other) + 1e-17, marker, label=pooling)
ax.set_xlabel("number of the fingerprint")
ax.set_ylabel("difference of the pair + 1e-17")
ax.legend(loc="center right")
figure

# %% [markdown]
# **Exercise.** Take the apex to 0.5 Å. Is the pair still one for the mean? And for a third pooling,
# `moment3`? `Fingerprint(soap, ("mean", "moment3"))` is all that changes.
