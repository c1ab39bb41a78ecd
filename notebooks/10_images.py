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
# # Images against fingerprints
#
# A crystal can also be given as images: voxels with a Gaussian for every atom (Noh et al., *Matter*
# **1**, 1370 (2019)). An image has the elements, the number of atoms and the cell in it, so reading
# a crystal from it takes no search. Is it the better representation?

# %%
import jaxrecon

jaxrecon.use_all_cores()

# %% [markdown]
# ## A crystal to images
#
# Vanadium dioxide is rutile. Its cell becomes one image, a Gaussian in the middle of a grid of
# fractional coordinates, whose shape is that of the cell. The atoms of each element become another
# one, in a box of 15 Å.

# %%
from ase.spacegroup import crystal

rutile = crystal(
    ["V", "O"],
    [(0, 0, 0), (0.3, 0.3, 0)],
    spacegroup=136,
    cellpar=[4.55, 4.55, 2.85, 90, 90, 90],
)
image = jaxrecon.images.encode(rutile)
print(image.cell.shape, image.basis.shape, f"{image.size:,} numbers for {len(rutile)} atoms")

# %%
import matplotlib.pyplot as plt


def show(pictures):
    """Show the brightest voxels along the last axis."""
    _, panels = plt.subplots(1, len(pictures), figsize=(2.4 * len(pictures), 2.6), squeeze=False)
    for panel, (title, voxels) in zip(panels[0], pictures.items(), strict=True):
        panel.imshow(voxels.max(axis=-1).T, origin="lower", cmap="magma", vmin=0.0, vmax=1.0)
        panel.set(title=title, xticks=[], yticks=[])
    plt.tight_layout()


show({"cell": image.cell, **dict(zip(image.elements, image.basis, strict=True))})

# %% [markdown]
# ## And back
#
# The publication reads an atom at the brightest voxel of its peak, which is off by half a voxel:
# 0.11 Å on average. But the logarithm of a Gaussian is a parabola, so three voxels along an axis
# say exactly where its top is; and where Gaussians overlap, least squares fit all of them to the
# image. The error was never in the image, only in the reading.

# %%
from jaxrecon.structures.compare import match

for method in ("argmax", "fit"):
    found = jaxrecon.images.decode(image, method=method)
    print(f"{method:6} {match(rutile, found).rmsd:.0e} Å off, {found.info['result_code']}")

# %% [markdown]
# ## A noisy image
#
# A network never makes an image that is exactly that of a crystal. Least squares still read it,
# the certificate says *stalled*, since no crystal has this image, and how far an atom may be off.

# %%
from dataclasses import replace

import numpy as np

random = np.random.default_rng(0)
for size in (0.01, 0.03, 0.06):
    noise = size * random.normal(size=image.basis.shape).astype(np.float32)
    noisy = replace(image, basis=image.basis + noise)
    found = jaxrecon.images.decode(noisy)
    stated, true = found.info["position_error"], match(rutile, found).rmsd
    print(f"noise {size}: stated {stated:.0e} Å, true {true:.0e} Å, {found.info['result_code']}")

# %% [markdown]
# ## Few numbers instead of a million
#
# To generate crystals, iMatGen learns to press each image into a short code, and makes new codes.
# Here a small network learns strained copies of two oxides for some seconds, on a coarse grid with
# wide Gaussians. Copies that it has not seen go through 200 numbers an element and 20 for the cell.

# %%
from ase.build import bulk

from jaxrecon.images.config import ImageConfig
from jaxrecon.images.evaluation import evaluate_images, summary
from jaxrecon.images.substitution import variants
from jaxrecon.images.training import train_images

coarse = jaxrecon.images.ImageParameters(cell_grid=16, basis_grid=16, box=12.0, sigma=0.6)
config = ImageConfig(
    parameters=coarse,
    cell_rate=2e-3,
    basis_rate=2e-3,
    cell_epochs=80,
    basis_epochs=30,
    validation=16,
)
oxides = [rutile, bulk("VO", "rocksalt", a=4.09)]
copies = [copy for atoms in oxides for copy in variants(atoms, 100, seed=0)]
unseen = [copy for atoms in oxides for copy in variants(atoms, 8, seed=1)]
model = train_images(copies, ["V", "O"], config)
for name, value in summary(evaluate_images(model, unseen)).items():
    print(f"{name}: {value:.3g}")

# %%
original = jaxrecon.images.encode(unseen[0], coarse, elements=["V", "O"])
again = model.decode(model.encode([original]))[0]
pictures = {}
for symbol, before, after in zip(original.elements, original.basis, again.basis, strict=True):
    pictures |= {symbol: before, f"{symbol}, from its code": after}
show(pictures)

# %% [markdown]
# ## The same crystal from a fingerprint
#
# A fingerprint has a few hundred numbers and stays the same when the crystal is turned, moved
# or written with another cell. The price is the search; what it finds is as exact.

# %%
fingerprint = jaxrecon.Fingerprint.preset("crystal", set(rutile.symbols))
target = jaxrecon.featurize(rutile, fingerprint)[0]
run = jaxrecon.reconstruct(
    target, fingerprint, symbols=str(rutile.symbols), cell=rutile.cell.array, seed=0
)
print(f"{target.size} numbers, {match(rutile, run[0].atoms).rmsd:.0e} Å off, {run[0].code.name}")

# %%
turned = rutile[[2, 3, 4, 5, 0, 1]]
turned.set_cell(rutile.cell.array[[2, 0, 1]])
turned.wrap()
moved = np.abs(jaxrecon.featurize(turned, fingerprint)[0] - target).max()
other = jaxrecon.images.encode(turned)
changed = np.abs(other.basis - image.basis).max()
print(f"the cell written another way: numbers move by {moved:.0e}, voxels by up to {changed:.2f}")

# %% [markdown]
# That is the trade. Images are read at once, elements and cell included, and a network can make
# them; but each crystal has as many images as ways to write its cell, so a network has to learn all
# of them, and crystals unlike those it knows come back with atoms missing. A fingerprint is one
# short vector per crystal, which a model of properties learns from directly, and the search turns
# even a fingerprint that a model has drawn into a structure.
#
# On 200 perovskites the brightest voxels are 0.09 Å off and least squares 7e-8 Å, both in about a
# tenth of a second, from a million voxels. The search finds all 200 again from 1,120 numbers, 2e-7
# Å off in the median, in half a second each; `benchmarks/README.md` has the table.
#
# **Exercise.** Blur `image` with `scipy.ndimage.gaussian_filter` (one voxel, each basis image by
# itself). How far off are both readers now, and which one still knows the number of atoms? Then
# encode rutile with all atoms moved by 0.1 Å: does any voxel change?
