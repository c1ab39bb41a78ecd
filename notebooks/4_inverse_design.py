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
# # Inverse design of Pt10
#
# From 300 clusters with energies of density functional theory (PBE) to new clusters with a wanted
# energy, as Fung et al. ([arXiv 2207.13227](https://arxiv.org/abs/2207.13227)) do it: a generator
# draws fingerprints that clusters of that energy may have, a surrogate predicts the energy of a
# fingerprint, and the inverse finds the structure. Samples are few here, and numbers rough.

# %%
import jaxrecon

jaxrecon.use_all_cores()

# %%
labelled = jaxrecon.datasets.load("pt10_pbe")
energies = labelled.formation_energies
print(f"{len(labelled)} clusters, {energies.min():.2f} to {energies.max():.2f} eV/atom above bulk")

# %% [markdown]
# ## Generator and surrogate
#
# By default the generator is a conditional variational autoencoder in coordinates of which any
# value is a possible fingerprint, and the surrogate is a Gaussian process of energies and forces. A
# fifth of the clusters, in whole trajectories, is used to measure the error of the surrogate.

# %%
from jaxrecon.models.training import train

model = train(labelled)
print(model, f"{model.fingerprint.size} numbers a fingerprint")
print(f"on validation examples: mean absolute error {model.validation['mae']:.3f} eV/atom")

# %% [markdown]
# ## Table 1 and figure 6: does the surrogate agree with the generator?
#
# `within` is the part of the fingerprints drawn for a target whose predicted energy is within
# 0.1 eV/atom of it; `mae` and `bias` are in eV/atom.

# %%
from jaxrecon.inverse_design import evaluation
from jaxrecon.plotting import published
from jaxrecon.plotting.design import target_histograms

print(evaluation.text(evaluation.table1(model, samples=200)))
target_histograms(published.generated_energies({"default": model}, samples=200))

# %% [markdown]
# ## Structures
#
# A fingerprint is drawn, and drawn again if the surrogate disagrees. The inverse is then *guided*:
# beside the fingerprint it minimises how far the prediction at the structure's own fingerprint is
# from the target, and how uncertain it is. `screened` are the accepted ones: the prediction is near
# the target and certain, no atoms are too close, and the structure is neither known nor repeated.

# %%
from jaxrecon.inverse_design.generation import generate

made = generate(model, 2.8, 12, seed=0)
made

# %% [markdown]
# Principal components of the fingerprints of the training set and of what was made, coloured by the
# energy, of what was made the predicted one.

# %%
from jaxrecon.plotting.maps import principal_maps

principal_maps(published.training_and_made(model, made))

# %% [markdown]
# ## Table 2: what a judge says
#
# That predictions fit is what was minimised; whether energies do is for a judge to say, one of the
# theory that was learned. Of PBE it takes many processes (notebook 6) and 12 to 25 s on a core for
# each cluster: `judge(made, "gpaw")`. The README has what it says.
#
# EMT answers at once, but is another theory and no judge of these clusters:

# %%
import numpy as np

from jaxrecon.potentials.judge import judge

theory = judge(labelled.structures, "emt")
by_emt = np.array([atoms.info["e_form"] for atoms in theory])
print(
    f"EMT - PBE: {np.mean(by_emt - energies):+.2f} eV/atom on average, "
    f"standard deviation {np.std(by_emt - energies):.2f}"
)

# %% [markdown]
# It is one of what is learned from EMT. So the same once more, with the energies and forces that it
# gives the same 300 clusters: the table is made in the same way, and says nothing of PBE.

# %%
from jaxrecon.datasets import LabelledSet

learned = train(
    LabelledSet.of(
        labelled.structures,
        formation_energies=by_emt,
        forces=[atoms.get_forces() for atoms in theory],
        trajectories=labelled.trajectories,
    )
)
judged = [
    atoms
    for target in (1.0, 1.4, 2.0)
    for atoms in judge(generate(learned, target, 12, seed=0), "emt")
]
table = evaluation.table2(judged)
print(evaluation.text(table))
# Of the 300 clusters 41, 13 and 3 % are that near to these targets.
assert all(row["within"] > 0.5 for row in table if row["structures"] == "raw")

# %% [markdown]
# `prediction_mae` is the mean absolute difference of energy and prediction, `calibration` the root
# mean square of that over the predicted deviation: 1 if the predicted deviations are right.

# %%
from jaxrecon.plotting.energies import parity

parity(published.predicted_against_judged(judged))

# %% [markdown]
# ## Closed loop
#
# `jaxrecon.inverse_design.closed_loop.design`, on the command line `jaxrecon design`, does this in
# rounds: it makes structures, has them judged, and learns from what the judge says before it makes
# more.
#
# **Exercise.** Ask for an energy below that of all known clusters. What does the model warn of, and
# what does EMT say of the clusters that it makes?
