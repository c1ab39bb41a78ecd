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
# # Local energies, learning curves and pre-training
#
# A model that gives each atom an energy, from what the atom sees around it, serves structures of
# any size. Which model should it be, how many examples does it need, and can cheap examples stand
# in for dear ones? (Gardner, Faure Beaulieu and Deringer, *Digital Discovery* **2**, 651 (2023).)

# %%
import jaxrecon

jaxrecon.use_all_cores()

# %% [markdown]
# ## A cheap teacher
#
# Tersoff's potential costs next to nothing and knows the energy of every atom. Molecular dynamics
# under it melts, quenches and anneals cells of eight carbon atoms, 24 of them in all, and keeps 15
# snapshots of each.

# %%
import numpy as np

from jaxrecon.datasets.quench import Quenching, quench

settings = Quenching(density=(2.9, 3.1), interval=50, stages=(3, 3, 9))
made = quench("C8", 360, calculator="tersoff", settings=settings, seed=0)
soap = jaxrecon.SOAP(("C",), r_cut=3.7, n_max=6, l_max=4)
data = jaxrecon.Environments.of(
    made.structures, soap, energies=made.local_energies, trajectories=made.trajectories
)
mean, spread = data.energies.mean(), data.energies.std()
print(f"{len(data):,} atoms of {mean:.2f} eV on average, spread {spread:.2f} eV")

# %% [markdown]
# ## How fast does each model learn?
#
# A linear model, a sparse Gaussian process (`kernel`) and a network learn from more and more atoms,
# and are tested on trajectories that they have not seen: snapshots of one trajectory are alike, so
# a random split would be too kind. Each point is the mean over two such splits.

# %%
from jaxrecon.models.local.learning_curve import learning_curve, pretraining_curve, summary

config = jaxrecon.LocalConfig(points=600, hidden=64, layers=2, epochs=100, batch=64)
points = learning_curve(
    data,
    models=("linear", "kernel", "network"),
    sizes=(50, 250, 1250),
    folds=2,
    config=config,
)

# %%
import matplotlib.pyplot as plt
from matplotlib.ticker import NullLocator, StrMethodFormatter

from jaxrecon.plotting.canvas import COLORS


def draw_curves(table, error, xlabel, ylabel):
    """Draw an error against the number of examples for each model, with its spread."""
    _, panel = plt.subplots(figsize=(5.0, 3.6))
    for number, name in enumerate(dict.fromkeys(row["model"] for row in table)):
        rows = [row for row in table if row["model"] == name]
        panel.errorbar(
            [row["size"] for row in rows],
            [row[error] for row in rows],
            [row[f"{error}_deviation"] for row in rows],
            fmt="os^"[number] + "-",
            color=COLORS[number],
            capsize=3,
            label=name,
        )
    sizes = sorted({row["size"] for row in table})
    panel.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
    panel.xaxis.set_minor_locator(NullLocator())
    for axis in (panel.yaxis.set_major_formatter, panel.yaxis.set_minor_formatter):
        axis(StrMethodFormatter("{x:.2g}"))
    panel.legend()
    plt.tight_layout()


draw_curves(summary(points), "mae", "atoms to learn from", "mean error of an atom (eV)")

# %% [markdown]
# With fifty atoms the kernel is ahead, which returns to the mean where it knows nothing, and the
# linear model falls behind. With a thousand there is little between them, and all are off by a
# fifth of the spread; whether the network wins at last takes far more atoms. `jaxrecon evaluate
# learning-curve` makes such curves from any set, with deep kernels too, and continues after an
# interruption.

# %% [markdown]
# ## A dear reference
#
# Quantum mechanics gives one energy for a structure, not one for each atom, and few can be paid
# for. In its place stands here Tersoff's energy and a pair term that Tersoff knows nothing of. One
# network learns ten or fifty such sums directly. Another one has learned the 2,880 cheap local
# energies before, and is only corrected.

# %%
from dataclasses import replace

from ase.calculators.morse import MorsePotential


def dear(structures, totals):
    """Energies of the reference: those of Tersoff and a pair term, in eV."""
    pairs = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = MorsePotential(epsilon=0.1, r0=1.5, rho0=4.0, rcut1=3.0, rcut2=3.6)
        pairs.append(copy.get_potential_energy())
    return totals + np.array(pairs)


labelled = replace(data, energies=None, totals=dear(made.structures, data.totals))
direct = replace(config, batch=16, epochs=100)
points = pretraining_curve(data, labelled, sizes=(10, 50), folds=2, config=direct)
draw_curves(summary(points), "rmse", "structures to learn from", "error of a structure (eV/atom)")

# %% [markdown]
# ## A size that nobody has seen
#
# Both learned from cells of eight atoms. Now the cells have 64.

# %%
from jaxrecon.models.local.network import NetworkModel

larger = quench("C64", 15, calculator="tersoff", settings=replace(settings, together=1), seed=1)
unseen = jaxrecon.Environments.of(larger.structures, soap, energies=larger.local_energies)
truth = dear(larger.structures, unseen.totals) / 64

few = labelled.select(np.sort(np.random.default_rng(0).permutation(360)[:50]))
teacher = NetworkModel.fit(data, replace(config, targets="local"))
direct = replace(direct, targets="total")
fine = replace(direct, learning_rate=0.1 * direct.learning_rate)
models = {
    "teacher alone": teacher,
    "50 sums": NetworkModel.fit(few, direct),
    "teacher, then 50 sums": NetworkModel.fit(few, fine, start=teacher),
}
predicted = {name: model.totals(unseen) / 64 for name, model in models.items()}
for name, energies in predicted.items():
    print(f"{name:22} off by {np.sqrt(np.mean((energies - truth) ** 2)):.3f} eV/atom")

# %%
_, panel = plt.subplots(figsize=(5.0, 4.6))
for marker, colour, (name, energies) in zip("os^", COLORS, predicted.items(), strict=False):
    panel.plot(truth, energies, marker, color=colour, mec="white", mew=0.5, label=name)
panel.axline((truth.min(), truth.min()), slope=1.0, color="#333333", lw=0.8, zorder=0)
panel.set(xlabel="reference (eV/atom)", ylabel="network (eV/atom)")
panel.legend()
plt.tight_layout()

# %% [markdown]
# The teacher knows the shape of the surface, and the 50 dear sums put it in its place; none of
# these networks has seen more than eight atoms. `model.potential()` is a potential with forces and
# stress; notebook 9 says how firmly its training data hold the energy of each atom.
#
# **Exercise.** Give the teacher only every tenth snapshot. How much of the gain is left at ten
# dear structures? And what if the pair term is three times as strong?
