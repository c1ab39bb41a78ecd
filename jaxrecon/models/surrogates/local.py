r"""Surrogates that give each atom an energy: their property is the mean over the atoms.

.. math:: \mu = \frac1n \sum_i \left(E_{z_i} + w \cdot f(x_i)\right), \quad
    \sigma^2 = \frac{\alpha^2}{n^2} F^\mathsf{T} A^{-1} F + \nu^2, \quad F = \sum_i f(x_i)

where :math:`x_i` is the row of atom i, f are the projected kernels of a sparse Gaussian process or
the last hidden layer of a network, A is the matrix of their normal equations for energies alone,
and :math:`\alpha` and :math:`\nu` make the deviations agree with the errors of the validation
examples (:mod:`jaxrecon.models.local.uncertainty`). The rows are those of the fingerprint's own
descriptor.

A fingerprint that a generator has drawn has no atoms. A Gaussian process of the whole fingerprint
predicts for it, and decides which fingerprints are drawn again; structures are found and scored by
the energies of their atoms.
"""

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.calibration import calibrated_with_floor
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.examples import Examples
from jaxrecon.models.local.base import LocalModel
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments, rows_of
from jaxrecon.models.local.inputs import by_structure
from jaxrecon.models.local.uncertainty import LocalRigidity
from jaxrecon.models.rigidity import Rigidity
from jaxrecon.models.surrogates.base import Surrogate
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.search.guidance import AtomRows, Prediction

BATCH = 64
"""Number of structures that are predicted together."""


class OfAtoms(NamedTuple):
    """What is predicted for each atom of a structure.

    Attributes:
        energies: energies in eV.
        deviations: standard deviations of their errors in eV, without the floor of the structure.
        rigidities: local prediction rigidities, without a unit.
    """

    energies: Float[Array, "*s n"]
    deviations: Float[Array, "*s n"]
    rigidities: Float[Array, "*s n"]


@dataclass(frozen=True, eq=False)
class LocalSurrogate(Surrogate):
    """A model of local energies, with a Gaussian process for fingerprints without a structure.

    Attributes:
        model: the model, in the precision of a search.
        held: the factorised matrix of the examples.
        noise: noise of the energies that were learned in eV.
        factor: factor that turns roots of variances into standard deviations.
        floor: smallest standard deviation of the property, in its unit.
        whole: a Gaussian process of the whole fingerprint.
    """

    model: LocalModel
    held: Rigidity
    noise: Float[np.ndarray | Array, ""]
    factor: Float[np.ndarray | Array, ""]
    floor: Float[np.ndarray | Array, ""]
    whole: GaussianProcess

    @property
    def rigidity(self) -> LocalRigidity:
        """How firmly the examples hold the energy of any atom."""
        features, descriptor = self.model.last_features(), self.model.descriptor
        return LocalRigidity(features, self.held, self.noise, self.factor, descriptor, False)

    @classmethod
    @abstractmethod
    def fit_model(
        cls, environments: Environments, config: LocalConfig, report: ProgressFn
    ) -> LocalModel:
        """Fit the model of local energies.

        Args:
            environments: the training examples.
            config: settings.
            report: as for :meth:`fit`.

        Returns:
            The fitted model.
        """

    @classmethod
    @abstractmethod
    def restore_model(
        cls, arrays: dict[str, Any], descriptor: Descriptor, config: LocalConfig
    ) -> LocalModel:
        """Make the fitted model of local energies from the arrays that were saved.

        Args:
            arrays: its fields that are not static, by name.
            descriptor: the descriptor of the rows.
            config: settings that it was fitted with.

        Returns:
            The model that was saved.
        """

    @classmethod
    def fit(
        cls,
        examples: Examples,
        config: TrainConfig,
        *,
        folder: str | os.PathLike[str] | None = None,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "LocalSurrogate":
        """Fit the model, and calibrate its deviations by the validation examples.

        Args:
            examples: data to fit to, with structures.
            config: settings; ``local_fit``, ``forces`` and ``seed`` are used.
            folder: not used.
            report: as for the base class.

        Returns:
            The fitted surrogate.

        Raises:
            ValueError: if the structures are not known.
        """
        model, found = cls._learned(examples, examples.training, config, report)
        factor, floor = 1.0, 0.0
        if len(examples.validation):
            others = _environments(examples, examples.validation)
            sizes = others.counts.sum(axis=1)
            errors = model.totals(others) / sizes - examples.values[examples.validation]
            variances = (found.total_deviations(others) / sizes) ** 2
            factor, floor = calibrated_with_floor(variances, errors)
        return cls(
            model=model,
            held=found.rigidity,
            noise=found.noise,
            factor=np.asarray(factor),
            floor=np.asarray(floor),
            # Forces would cost more time than all else, for fingerprints without a structure.
            whole=GaussianProcess.fit(examples, config.replace(forces=False)),
        )

    @classmethod
    def settings(cls, examples: Examples, config: TrainConfig) -> LocalConfig:
        """The settings of the model of local energies for some examples.

        Args:
            examples: data to fit to.
            config: settings of the surrogate.

        Returns:
            The settings, with forces where these are learned.
        """
        return replace(config.local_fit, targets="total", forces=False, seed=config.seed)

    @classmethod
    def _learned(
        cls,
        examples: Examples,
        chosen: Int[np.ndarray, " k"],
        config: TrainConfig,
        report: ProgressFn,
    ) -> tuple[LocalModel, LocalRigidity]:
        """Fit the model to some examples, and find how firmly they hold it."""
        own = cls.settings(examples, config)
        known = _environments(examples, chosen)
        model = cls.fit_model(known, own, report)
        # Forces are left out of the matrix: with them, deviations tell large errors less well.
        return model, LocalRigidity.of(model, known, replace(own, forces=False))

    @classmethod
    def restore(
        cls, arrays: dict[str, Any], fingerprint: Fingerprint, config: TrainConfig
    ) -> "LocalSurrogate":
        """Make a fitted surrogate from the arrays that were saved; see the base class."""
        return cls(
            model=cls.restore_model(arrays["model"], fingerprint.descriptor, config.local_fit),
            held=Rigidity(**arrays["held"]),
            noise=arrays["noise"],
            factor=arrays["factor"],
            floor=arrays["floor"],
            whole=GaussianProcess.restore(arrays["whole"], fingerprint, config),
        )

    def __call__(self, fingerprint: Float[Array, " p"]) -> Prediction:
        """Predict the property of a fingerprint without its structure; see the base class."""
        return self.whole(fingerprint)

    def of_atoms(self, atoms: AtomRows) -> Prediction:
        """Predict the property of a structure: a pure function, by which a search is guided.

        Args:
            atoms: the rows of its atoms.

        Returns:
            The property and the standard deviation of its error, in its unit.
        """
        rows, kinds, mask = atoms
        dtype, found = rows.dtype, self.rigidity
        count = jnp.maximum(jnp.sum(mask), 1).astype(dtype)
        energy = jnp.sum(jnp.where(mask, self.model(rows, kinds), 0.0)) / count
        features = jnp.where(mask[:, None], found.features(rows, kinds), 0.0)
        variance = found.rigidity.variance(jnp.sum(features, axis=0)[None])[0]
        factor, floor = (jnp.asarray(part, dtype) for part in (self.factor, self.floor))
        # The root has no derivative at 0.
        squared = (factor / count) ** 2 * variance + floor**2
        return energy, jnp.sqrt(jnp.maximum(squared, jnp.finfo(dtype).tiny))

    def each(self, atoms: AtomRows) -> OfAtoms:
        """Predict the energy of each atom, its deviation and its rigidity.

        Args:
            atoms: the rows of the atoms of a structure.

        Returns:
            The numbers of all atoms; those of padding have no meaning.
        """
        rows, kinds, _ = atoms
        factor, noise = (jnp.asarray(part, rows.dtype) for part in (self.factor, self.noise))
        bare = self.rigidity.rigidity.variance(self.rigidity.features(rows, kinds))
        safe = jnp.maximum(bare, jnp.finfo(rows.dtype).tiny)
        return OfAtoms(self.model(rows, kinds), factor * jnp.sqrt(safe), noise**2 / safe)

    def predict(
        self, structures: Sequence[Atoms]
    ) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"], list[OfAtoms]]:
        """Predict for structures of any sizes, in float64.

        Args:
            structures: the structures, of elements that were learned.

        Returns:
            The property, the standard deviation of its error, and what is predicted of the atoms.
        """
        descriptor = self.model.descriptor
        sizes = [len(atoms) for atoms in structures]
        rows = rows_of(structures, descriptor, dtype=np.float64)
        numbers = np.concatenate([atoms.numbers for atoms in structures])
        kinds = np.searchsorted(descriptor.species, numbers).astype(np.int32)
        owner, count = np.repeat(np.arange(len(sizes)), sizes), len(sizes)
        spread = [by_structure(owner, part) for part in (rows, kinds, np.ones(len(rows), bool))]
        # Padding to one of few numbers of structures, without atoms.
        missing = (1 << (count - 1).bit_length()) - count
        with jax.enable_x64(True):
            atoms = AtomRows(
                *(jnp.pad(part, [(0, missing)] + [(0, 0)] * (part.ndim - 1)) for part in spread)
            )
            (means, deviations), each = jax.device_get(_predicted(self, atoms))
        parts = [
            OfAtoms(*(values[row, :size] for values in each)) for row, size in enumerate(sizes)
        ]
        return means[:count], deviations[:count], parts

    def refit(
        self, examples: Examples, config: TrainConfig, calibration: float
    ) -> "LocalSurrogate":
        """Let the Gaussian process of the fingerprint learn from the validation examples too.

        Args:
            examples: the data that it was fitted to.
            config: settings that it was fitted with.
            calibration: not used: deviations are calibrated.

        Returns:
            The surrogate to use.
        """
        energies = config.replace(forces=False)
        return replace(self, whole=self.whole.refit(examples, energies, 1.0))


def _environments(examples: Examples, chosen: Int[np.ndarray, " k"]) -> Environments:
    """The atoms of some examples, with total energies and forces."""
    if examples.structures is None:
        raise ValueError(
            "expected structures to learn energies of atoms from, got fingerprints alone: take the "
            "surrogate gaussian_process"
        )
    structures = [examples.structures[index] for index in chosen]
    sizes = np.array([len(atoms) for atoms in structures])
    forces = None
    if examples.gradients is not None:
        parts = zip(examples.gradients[chosen], sizes, strict=True)
        forces = [-size * part.reshape(-1, 3) for part, size in parts]
        if not all(np.isfinite(part).all() for part in forces):
            forces = None
    return Environments.of(
        structures,
        examples.fingerprint.descriptor,
        totals=examples.values[chosen] * sizes,
        forces=forces,
        dtype=np.float64,
    )


@jax.jit
def _predicted(
    surrogate: LocalSurrogate, atoms: AtomRows
) -> tuple[tuple[Float[Array, " s"], Float[Array, " s"]], OfAtoms]:
    """Predict for structures of one padded size."""
    return jax.lax.map(
        lambda one: (surrogate.of_atoms(one), surrogate.each(one)), atoms, batch_size=BATCH
    )
