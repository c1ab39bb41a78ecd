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
# # The twelve structures of the paper
#
# Figures 4 and 5 of Fung et al. ([arXiv 2207.13227](https://arxiv.org/abs/2207.13227)) reconstruct
# six free shapes of one element and six crystals of two to five. The paper prints pictures, no
# coordinates: here the shapes are ideal ones at the bond length of platinum, the crystals
# experimental ones.

# %%
import jaxrecon

jaxrecon.use_all_cores()

# %%
from jaxrecon.datasets import prototypes

structures = {name: prototypes.load(name) for name in prototypes.PROTOTYPES}
shapes = [structures[name] for name in prototypes.GEOMETRIC]
crystals = [structures[name] for name in prototypes.CRYSTALS]
for name, atoms in structures.items():
    print(f"{name:<28} {atoms.get_chemical_formula():<12} {len(atoms):>2} atoms")

# %% [markdown]
# ## Two fingerprints
#
# Shapes get the published fingerprint: the largest and the smallest value over the atoms of 190
# functions. Crystals get the preset `crystal`, sums over *all* periodic images within 6 Å, with
# mean and variance over the atoms of each element. The published convention, one image of every
# atom, jumps where two images are equally far, as they are in most symmetric crystals.

# %%
published = jaxrecon.Fingerprint.preset("fung2022", ["Pt"])
shape_targets = jaxrecon.featurize(shapes, published)

fingerprints = [jaxrecon.Fingerprint.preset("crystal", set(atoms.symbols)) for atoms in crystals]
crystal_targets = [
    jaxrecon.featurize(atoms, fingerprint)[0]
    for atoms, fingerprint in zip(crystals, fingerprints, strict=True)
]
print("numbers a shape:", published.size)
print("numbers a crystal:", [fingerprint.size for fingerprint in fingerprints])

# %% [markdown]
# ## Back
#
# The search is told numbers, composition and, for crystals, the cell; never a position. Most of the
# time goes into compiling: a program serves structures of about one size, with one number of
# elements and, as crystals, alike cells, so that twelve structures take ten. Shapes and crystals
# have a call each: a fingerprint with the largest and smallest values takes more replicas, 64, than
# one that is smooth, 16.

# %%
found_shapes = jaxrecon.reconstruct(
    shape_targets,
    published,
    symbols=[atoms.get_chemical_formula() for atoms in shapes],
    seed=0,
)
found_shapes

# %%
found_crystals = jaxrecon.reconstruct(
    crystal_targets,
    fingerprints,
    symbols=[atoms.get_chemical_formula() for atoms in crystals],
    cell=[atoms.cell.array for atoms in crystals],
    seed=0,
)
found_crystals

# %% [markdown]
# A residual of 1e-6 or less certifies that all numbers are hit. Whether the structure is the one
# behind them is a question of its own: the root mean square deviation (RMSD) is the least one over
# rotations, reflections, translations and the order of atoms of an element; for crystals pymatgen's
# `StructureMatcher` says "tight" where the atoms are within 2 % of the mean spacing.

# %%
from jaxrecon.plotting.reconstructions import Pair, SideBySide, side_by_side
from jaxrecon.structures import compare

found = [*found_shapes, *found_crystals]
pairs = []
for (name, atoms), result in zip(structures.items(), found, strict=True):
    match = compare.match(atoms, result.atoms)
    pairs.append(Pair(name, atoms, result.atoms, result.residual, match.rmsd))
    print(
        f"{name:<28} residual {result.residual:.0e}  RMSD {match.rmsd:.0e} Å  "
        f"{'tight' if match.tight else 'no match'}"
    )
assert all(result.code.solved for result in found)
assert all(compare.match(pair.truth, pair.found).tight for pair in pairs)

# %% [markdown]
# Around a symmetric structure a fingerprint is flat: what a small deviation changes cancels among
# equal neighbours, and its square is left. So deviations are about the square roots of residuals,
# but for the humanoid, which has no symmetry.

# %%
side_by_side(SideBySide(pairs))

# %% [markdown]
# Truth above, reconstruction below, laid onto it. `benchmarks/recovery.py prototypes` measures the
# work and the time of the same search.
#
# **Exercise.** Invert the cube from `default` in place of `fung2022`. Which of the two needs fewer
# hops, and which one leaves the smaller deviation?
