r"""Uncertainty of local energies: rigidity of predictions, and calibrated standard deviations.

A model that is linear in its last weights, with features f(x), predicts an energy with the variance
:math:`f^\mathsf{T} A^{-1} f`, where A is the matrix of its normal equations
(:mod:`~jaxrecon.models.local.system`). One over this variance, times the squared noise, is the
local prediction rigidity of :mod:`jaxrecon.models.rigidity`. For a network the features are the
values of its last hidden layer: the last-layer prediction rigidity, which a factor :math:`\alpha`
turns into standard deviations.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.calibration import calibrated
from jaxrecon.models.local.base import Features, LocalModel
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.system import learned, normal_equations
from jaxrecon.models.rigidity import Rigidity
from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass

Values = Callable[["LocalRigidity", Float[Array, "n f"], Int[Array, " n"]], Float[Array, "n ..."]]
"""A function of a block of atoms."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class LocalRigidity:
    """How firmly a training set holds the energy of any atom.

    Attributes:
        features: the features whose weighted sum is the energy.
        rigidity: the factorised matrix of the training set.
        noise: noise of the energies that were learned in eV.
        factor: factor that turns roots of variances into standard deviations.
        descriptor: descriptor of the rows.
        atomic: whether local energies were learned; else totals alone.

    >>> from ase.build import bulk
    >>> from jaxrecon import SOAP
    >>> from jaxrecon.models.local.training import train_local
    >>> soap = SOAP(("Cu",), r_cut=4.0, n_max=3, l_max=2)
    >>> near = Environments.of([bulk("Cu", a=a) for a in (3.5, 3.6)], soap, totals=[-3.4, -3.5])
    >>> far = Environments.of([bulk("Cu", a=4.5)], soap)
    >>> rigidity = LocalRigidity.of(train_local(near), near)
    >>> bool(rigidity.local(far)[0] < rigidity.local(near).min())
    True
    """

    features: Features
    rigidity: Rigidity
    noise: Float[np.ndarray | Array, ""]
    factor: Float[np.ndarray | Array, ""]
    descriptor: Descriptor = field(metadata={"static": True})
    atomic: bool = field(metadata={"static": True})

    @classmethod
    def of(
        cls,
        model: LocalModel,
        environments: Environments,
        config: LocalConfig | None = None,
        *,
        layers: Literal["last", "all"] = "last",
    ) -> "LocalRigidity":
        """Factorise the matrix of a training set.

        Args:
            model: the fitted model.
            environments: what it was fitted to.
            config: settings that it was fitted with.
            layers: whose weights may change in a network: those of its last layer, or of all, as
                if it were linear around them. Both are the same for other models.

        Returns:
            The rigidity, with the factor 1.

        Raises:
            ValueError: if the model has no features or can't predict these environments, or what
                the settings name is not known.
        """
        model.check(environments)
        config = config or LocalConfig()
        features = model.all_features() if layers == "all" else model.last_features()
        row, kind = environments.rows[:1], environments.kinds[:1]
        count = jax.eval_shape(features, jnp.asarray(row), jnp.asarray(kind)).shape[1]
        matrix, _ = normal_equations(features, count, environments, config)
        rigidity = Rigidity.of_covariance(np.asarray(matrix), 0.0)
        local, _ = learned(environments, config)
        noise = np.asarray(config.sigma if local else config.sigma_total)
        return cls(features, rigidity, noise, np.ones(()), model.descriptor, local)

    def variance(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, " n"]:
        """Compute the variance of the energy of each atom: a pure function.

        That of a kernel needs float64: in float32 it is wrong by a factor.

        Args:
            rows: rows of the atoms.
            kinds: index of the element of each atom among those of the descriptor.

        Returns:
            The variances in eV^2, without noise, times the squared factor.
        """
        factor = jnp.asarray(self.factor, rows.dtype)
        return factor**2 * self.rigidity.variance(self.features(rows, kinds))

    def local(self, environments: Environments) -> Float[np.ndarray, " n"]:
        """Compute the local prediction rigidity of every atom, without a unit.

        Args:
            environments: the atoms.

        Returns:
            The squared noise over the variance: how many observations of the atom's energy alone
            would hold it as firmly.

        Raises:
            ValueError: if there is no atom, or the rows are of another descriptor.
        """
        found = _blocks(_variances, replace(self, factor=np.ones(())), environments)
        return float(self.noise) ** 2 / np.maximum(found, 1e-300)

    def deviations(self, environments: Environments) -> Float[np.ndarray, " n"]:
        """Compute the standard deviation of the energy of every atom in eV.

        Args:
            environments: the atoms.

        Raises:
            ValueError: as :meth:`local`.
        """
        return np.sqrt(_blocks(_variances, self, environments))

    def total_deviations(self, environments: Environments) -> Float[np.ndarray, " s"]:
        """Compute the standard deviation of the total energy of every structure in eV.

        Args:
            environments: the atoms of the structures.

        Returns:
            The deviations; those of atoms are correlated, so they are no sums of these.

        Raises:
            ValueError: as :meth:`local`.
        """
        projected = _blocks(_projections, self, environments)
        sums = np.zeros((len(environments.trajectories), projected.shape[1]))
        np.add.at(sums, environments.owner, projected)
        return float(self.factor) * np.linalg.norm(sums, axis=1)

    def calibrated(
        self, model: LocalModel, environments: Environments, method: str = "squared"
    ) -> "LocalRigidity":
        """Choose the factor by the errors of examples that were not learned.

        Args:
            model: the fitted model.
            environments: examples with the energies that the model has learned: local energies,
                or totals if it has learned these alone.
            method: as for :func:`jaxrecon.models.calibration.calibrated`.

        Returns:
            The rigidity with this factor.

        Raises:
            ValueError: if the method is unknown, these energies are not known, all errors are zero,
                or as :meth:`local`.
        """
        factor = calibration_factor(self, model, environments, method)
        return replace(self, factor=factor)


@runtime_checkable
class _Uncertainty(Protocol):
    """What knows standard deviations of energies, up to a factor."""

    @property
    def factor(self) -> Float[np.ndarray | Array, ""]: ...

    @property
    def atomic(self) -> bool: ...

    def deviations(self, environments: Environments) -> Float[np.ndarray, " n"]: ...

    def total_deviations(self, environments: Environments) -> Float[np.ndarray, " s"]: ...


def calibration_factor(
    uncertainty: _Uncertainty, model: LocalModel, environments: Environments, method: str
) -> Float[np.ndarray, ""]:
    """Choose the factor of standard deviations by errors of examples that were not learned.

    Args:
        uncertainty: standard deviations with any factor but zero.
        model: the fitted model.
        environments: examples with the energies that the model has learned: local energies, or
            totals if it has learned these alone.
        method: as for :func:`jaxrecon.models.calibration.calibrated`.

    Returns:
        The factor that takes the place of the present one.

    Raises:
        ValueError: if these energies are not known, or as
            :func:`~jaxrecon.models.calibration.calibrated`.
    """
    if uncertainty.atomic and environments.energies is not None:
        deviations = uncertainty.deviations(environments)
        errors = model.predict(environments) - environments.energies
    elif not uncertainty.atomic and environments.totals is not None:
        deviations = uncertainty.total_deviations(environments)
        errors = model.totals(environments) - environments.totals
    else:
        kind = "local energies" if uncertainty.atomic else "total energies"
        raise ValueError(f"expected {kind} to calibrate by, as the model has learned, got none")
    present = float(uncertainty.factor)
    return np.asarray(calibrated((deviations / present) ** 2, errors, method))


def _blocks(
    values: Values, rigidity: LocalRigidity, environments: Environments
) -> Float[np.ndarray, "n ..."]:
    """Apply a function to all atoms in float64, block by block."""
    environments.check_rows(rigidity.descriptor, least=1)
    found = []
    with jax.enable_x64(True):
        for part, *block in environments.blocks():
            known = values(rigidity, *map(jnp.asarray, block))
            found.append(np.asarray(known)[: part.stop - part.start])
    return np.concatenate(found)


@jax.jit
def _variances(rigidity: LocalRigidity, rows: Array, kinds: Array) -> Array:
    """The variances of a block of atoms."""
    return rigidity.variance(rows, kinds)


@jax.jit
def _projections(rigidity: LocalRigidity, rows: Array, kinds: Array) -> Array:
    """Vectors whose squared lengths are the variances."""
    root = jnp.asarray(rigidity.rigidity.root, rows.dtype)
    return product(rigidity.features(rows, kinds), root.T)
