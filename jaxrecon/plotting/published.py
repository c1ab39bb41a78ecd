"""Data of figures 6 to 9 of Fung et al., arXiv 2207.13227, from one's own models and structures."""

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from jaxrecon.descriptors.featurize import featurize
from jaxrecon.inverse_design.evaluation import TARGETS, WITHIN
from jaxrecon.inverse_design.generated import widths_of
from jaxrecon.models.design_model import DesignModel
from jaxrecon.plotting.design import TargetHistograms
from jaxrecon.plotting.energies import Parity
from jaxrecon.plotting.maps import PrincipalMaps


def generated_energies(
    models: Mapping[str, DesignModel],
    *,
    targets: Sequence[float] = TARGETS,
    samples: int = 1000,
    seed: int = 0,
) -> TargetHistograms:
    """Figure 6: predicted energies of the fingerprints that are generated for each target.

    Args:
        models: models by name; each one predicts the fingerprints that it generates.
        targets: values of the property in eV/atom.
        samples: number of fingerprints per target.
        seed: seed of the random numbers.

    Returns:
        Data for :func:`~jaxrecon.plotting.design.target_histograms`.
    """
    energies = {
        target: {
            name: model.predict(model.sample(target, samples, seed))[0]
            for name, model in models.items()
        }
        for target in targets
    }
    return TargetHistograms(energies, WITHIN, "predicted energy (eV/atom)", "fingerprints")


def judged_energies(structures: Sequence[Atoms]) -> TargetHistograms:
    """Figure 7: energies by a reference calculator of structures made for each target.

    Args:
        structures: structures with ``target``, ``accepted`` and ``e_form`` (in eV/atom) in
            ``info``; those without a target are left out.

    Returns:
        Data for :func:`~jaxrecon.plotting.design.target_histograms`: all structures (``raw``) and
        those that passed the screening (``screened``).
    """
    energies: dict[float, dict[str, np.ndarray]] = {}
    for target in sorted({atoms.info["target"] for atoms in structures if "target" in atoms.info}):
        raw = [atoms.info for atoms in structures if atoms.info.get("target") == target]
        screened = [info for info in raw if info.get("accepted")]
        energies[target] = {
            name: np.array([info.get("e_form", np.nan) for info in infos])
            for name, infos in (("raw", raw), ("screened", screened))
        }
    return TargetHistograms(energies, WITHIN)


def predicted_against_judged(structures: Sequence[Atoms]) -> Parity:
    """Figure 8: predicted energies of structures against those by a reference calculator.

    Args:
        structures: structures with ``predicted`` and ``e_form`` (in eV/atom) in ``info``.

    Returns:
        Data for :func:`~jaxrecon.plotting.energies.parity`, one group per target.
    """
    groups: dict[str, list[tuple[float, float]]] = {}
    for atoms in structures:
        pair = (atoms.info.get("predicted", np.nan), atoms.info.get("e_form", np.nan))
        groups.setdefault(_group(atoms), []).append(pair)
    columns = {name: np.array(pairs).T for name, pairs in sorted(groups.items())}
    return Parity(
        {name: (predicted, judged) for name, (predicted, judged) in columns.items()},
        xlabel="judged energy (eV/atom)",
        ylabel="predicted energy (eV/atom)",
    )


def training_and_made(model: DesignModel, structures: Sequence[Atoms]) -> PrincipalMaps:
    """Figure 9: fingerprints of the training set and of structures made for each target.

    Args:
        model: the model that made the structures.
        structures: structures with ``e_form`` or else ``predicted`` (in eV/atom) in ``info``.

    Returns:
        Data for :func:`~jaxrecon.plotting.maps.principal_maps`: standardised fingerprints with the
        training set and each target as subsets.

    Raises:
        ValueError: if there is no structure, or one has other elements than the model.
    """
    training, energies = model.training.fingerprints, model.training.formation_energies
    assert training is not None, "a model has the fingerprints of its training set"
    widths = widths_of(training)
    made = featurize(structures, model.fingerprint)
    made_energies = [
        atoms.info.get("e_form", atoms.info.get("predicted", np.nan)) for atoms in structures
    ]
    rows = np.concatenate([training, made])[:, widths > 0.0] / widths[widths > 0.0]
    names = np.array([_group(atoms) for atoms in structures])
    subsets = {"training": np.arange(len(training))}
    for name in np.unique(names).tolist():
        subsets[name] = len(training) + np.flatnonzero(names == name)
    return PrincipalMaps(rows, np.concatenate([energies, made_energies]), subsets)


def _group(atoms: Atoms) -> str:
    """Name of the target that a structure was made for."""
    return f"{atoms.info['target']:g}" if "target" in atoms.info else "range"
