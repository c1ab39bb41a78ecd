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
# # Any crystal from 256 numbers
#
# Most fingerprints have a channel for each element, so their length depends on the chemistry. The
# preset `universal` has 256 numbers for any structure of the elements from H to Lr: neighbours
# count with the weights 1, their group, their period and two more that tell alike elements apart,
# like C, N and O; those of an atom's own element count once more. Elements and the number of atoms
# are in the numbers, too, and the search finds them.

# %%
import jaxrecon

jaxrecon.use_all_cores()

# %%
from ase.build import bulk
from ase.spacegroup import crystal

perovskite = crystal(
    ["Sr", "Ti", "O"],
    [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
    spacegroup=221,
    cellpar=[3.905] * 3 + [90] * 3,
)
crystals = [bulk("NaCl", "rocksalt", a=5.64), bulk("GaAs", "zincblende", a=5.65), perovskite]
universal = jaxrecon.Fingerprint.preset("universal")
targets = jaxrecon.featurize(crystals, universal)
targets.shape

# %% [markdown]
# ## Which elements, and how many atoms
#
# Every element has a place on a circle (in Pettifor's order, in which neighbours are alike), and
# the first numbers are the moments of these places over the atoms. The moments of up to six
# elements belong to one composition alone, so reading it off is a small problem of whole numbers.
# Only multiples of a formula can't be told apart: they are tried in turn.

# %%
from jaxrecon.search.compositions import candidates

for target in targets:
    found = candidates(target, universal, range(2, 7))
    print([" ".join(symbols) for symbols in found])

# %% [markdown]
# ## Everything unknown
#
# Positions, cell, elements and number of atoms, from the numbers alone. What comes back is the
# primitive cell.

# %%
run = jaxrecon.reconstruct(targets, universal, atoms=range(2, 7), cell="unknown", seed=0)
run

# %%
from jaxrecon.structures import compare

found = [result.atoms for result in run]
print(compare.text(compare.compare(found, crystals), crystals))

# %%
from jaxrecon.plotting.reconstructions import Pair, SideBySide, side_by_side

pairs = [
    Pair(atoms.get_chemical_formula(), atoms, result.atoms, result.residual, match.rmsd)
    for atoms, result, match in zip(crystals, run, compare.compare(found, crystals), strict=True)
]
side_by_side(SideBySide(pairs))

# %% [markdown]
# ## Crystals that nobody has made
#
# Numbers of one length are what a generator needs. `jaxrecon train FILE --learning universal
# --property NAME` learns a property and a distribution of fingerprints from crystals of any
# composition; `jaxrecon generate MODEL --target 0.5 --elements Sr,Ti,O,N` draws fingerprints,
# gives each the nearest composition that is allowed, and searches for the crystals.
#
# **Exercise.** Add 1 % of noise to `targets[2]`. Does `candidates` still know strontium titanate?
# And `reconstruct`, if the composition is given?
