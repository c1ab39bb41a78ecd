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
# # How sure: the error of an inverse in Å, and the rigidity of a prediction
#
# Two questions about trust. How far may an atom of a recovered structure be from its place, and how
# firmly does a training set hold the energy of an atom?

# %%
import jaxrecon

jaxrecon.use_all_cores()

# %% [markdown]
# ## A residual is no distance
#
# Every result has a certificate: the position error that its residual still allows, from the
# derivatives of the fingerprint at the structure that was found.

# %%
from jaxrecon.datasets import clusters

cluster = clusters.relaxed("Pt10", seed=0)
for name, settings in (
    ("mean and variance", {}),
    ("mean of SOAP", {"n_max": 6, "l_max": 4, "poolings": ("mean",)}),
):
    preset = "soap" if settings else "default"
    fingerprint = jaxrecon.Fingerprint.preset(preset, ["Pt"], **settings)
    result = jaxrecon.reconstruct(
        jaxrecon.featurize(cluster, fingerprint), fingerprint, symbols="Pt10", seed=0
    )[0]
    stated, true = result.certificate.position_error, jaxrecon.rmsd(cluster, result.atoms)
    print(f"{name}: residual {result.residual:.0e}, stated {stated:.0e} Å, true {true:.0e} Å")

# %% [markdown]
# For a structure of your own `certificates` answers without a search: how many displacements the
# numbers do not see to first order, and how much noise in them moves an atom by 0.1 Å. A flat
# molecule is not seen to first order: moving its atoms out of the plane changes no number at once.

# %%
from ase.build import molecule

preset = jaxrecon.Fingerprint.preset("default", ["H", "C", "O"])
for name in ("H2O", "CH3OH", "C6H6"):
    (sure,) = jaxrecon.certificates(molecule(name), preset)
    unseen = f"{sure.rank_deficiency} of {sure.unknowns} displacements unseen"
    print(f"{name:6} {unseen}, noise {sure.noise:.0e}")

# %% [markdown]
# ## The rigidity of a local energy
#
# A model learns the energies of atoms in silicon, from crystals that are a little strained. The
# local prediction rigidity of an atom says how firmly these hold its energy: high in a crystal like
# them, low in a structure that none of them resembles. It needs no energies of the new structures.

# %%
import numpy as np
from ase.build import bulk

learned = [bulk("Si", a=a).repeat(2) for a in np.linspace(5.2, 5.7, 8)]
for number, crystal in enumerate(learned):
    crystal.rattle(0.1, seed=number)
soap = jaxrecon.SOAP(("Si",), r_cut=4.0, n_max=4, l_max=3)
data = jaxrecon.Environments.of(jaxrecon.judge(learned, "tersoff"), soap)
model = jaxrecon.train_local(data, "kernel", jaxrecon.LocalConfig(points=60))
rigidity = jaxrecon.LocalRigidity.of(model, data)

# %%
new = {"diamond": bulk("Si", a=5.43).repeat(2), "beta tin": bulk("Si", "bct", a=4.69, c=2.58)}
new["molten"] = bulk("Si", a=5.43).repeat(2)
new["molten"].rattle(0.8, seed=1)
for name, atoms in new.items():
    judged = jaxrecon.Environments.of(jaxrecon.judge([atoms], "tersoff"), soap)
    held = rigidity.local(judged)
    error = np.abs(model.predict(judged) - judged.energies)
    print(f"{name:9} smallest rigidity {held.min():8.2e}, mean error {error.mean():.3f} eV")

# %% [markdown]
# Low rigidity and large error go together, and only the first is known without a calculation.
#
# **Exercise.** Add the molten structure to what is learned. How much does the rigidity of its atoms
# grow, and that of diamond?
