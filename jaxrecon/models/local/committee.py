r"""Committee: the spread of models that have learned from random samples of the structures.

A model that is linear in its last weights, with features :math:`\phi`, is fitted again to
structures that are drawn with replacement (a bootstrap), all members side by side. Where the noise
is what the settings say, the variance of their predictions falls as one over the rigidity. Source:
Chong et al., J. Chem. Theory Comput. 19, 8020 (2023), arXiv 2306.15638.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.local.base import Features, LocalModel, offsets_of
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.system import learned, without_unused
from jaxrecon.models.local.uncertainty import calibration_factor
from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.memory import check_memory
from jaxrecon.runtime.seeds import checked_seed

TOGETHER = 8
"""Number of members whose equations are in memory together."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class LocalCommittee:
    """Members that differ in the structures that they have learned from.

    Attributes:
        features: the features whose weighted sum is the energy.
        weights: the weights of each member.
        factor: factor that turns the spread into standard deviations.
        descriptor: descriptor of the rows.
        atomic: whether local energies were learned; else totals alone.

    >>> from ase.build import bulk
    >>> from jaxrecon import SOAP
    >>> from jaxrecon.models.local.training import train_local
    >>> soap = SOAP(("Cu",), r_cut=4.0, n_max=3, l_max=2)
    >>> near = Environments.of([bulk("Cu", a=a) for a in (3.5, 3.6)], soap, totals=[-3.4, -3.5])
    >>> LocalCommittee.of(train_local(near), near, members=3).deviations(near).shape
    (2,)
    """

    features: Features
    weights: Float[np.ndarray | Array, "k m"]
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
        members: int = 10,
        seed: int = 0,
    ) -> "LocalCommittee":
        """Fit all members to random samples of the structures.

        Args:
            model: the fitted model, whose last features all members have.
            environments: what it was fitted to; its forces are not learned again.
            config: settings that it was fitted with.
            members: number of members, at least two.
            seed: seed of the random samples.

        Returns:
            The committee, with the factor 1.

        Raises:
            ValueError: if there are fewer than two members, the model has no features or can't
                predict these environments, or what the settings name is not known.
            MemoryError: if the features of all observations do not fit into the memory.
        """
        if members < 2:
            raise ValueError(f"expected at least two members, got {members}")
        model.check(environments)
        config, features = config or LocalConfig(), model.last_features()
        local, total = learned(environments, config)
        environments = without_unused(environments, config)
        count = len(environments.trajectories)
        drawn = np.random.default_rng(checked_seed(seed)).multinomial(
            count, np.full(count, 1.0 / count), members
        )
        parts = []
        if total:
            sizes = environments.counts.sum(axis=1)
            assert environments.totals is not None, "checked before"
            rest = environments.totals - environments.counts @ offsets_of(environments)
            scale = 1.0 / (config.sigma_total * np.sqrt(sizes))
            parts.append((_summed(features, environments), rest, scale, np.arange(count)))
        if local:
            assert environments.energies is not None, "checked before"
            rest = environments.energies - offsets_of(environments)[environments.kinds]
            scale = np.full(len(rest), 1.0 / config.sigma)
            parts.append((_all(features, environments), rest, scale, environments.owner))
        with jax.enable_x64(True):
            left = jnp.concatenate([rows * scale[:, None] for rows, _, scale, _ in parts])
            right = jnp.concatenate([rest * scale for _, rest, scale, _ in parts])
            often = jnp.asarray(
                np.concatenate([drawn[:, owner] for *_, owner in parts], axis=1), jnp.float64
            )
            weights = np.asarray(_members(left, right, often))
        return cls(features, weights, np.ones(()), model.descriptor, local)

    def members(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "k n"]:
        """Compute what each member adds to the mean energy of the element, in eV: a pure function.

        Args:
            rows: rows of the atoms.
            kinds: index of the element of each atom among those of the descriptor.
        """
        return product(jnp.asarray(self.weights, rows.dtype), self.features(rows, kinds).T)

    def deviations(self, environments: Environments) -> Float[np.ndarray, " n"]:
        """Compute the standard deviation of the energy of every atom over the members, in eV.

        Args:
            environments: the atoms.

        Raises:
            ValueError: if there is no atom, or the rows are of another descriptor.
        """
        environments.check_rows(self.descriptor, least=1)
        return float(self.factor) * self._spread(_all(self.features, environments))

    def total_deviations(self, environments: Environments) -> Float[np.ndarray, " s"]:
        """Compute the standard deviation of the total energy of every structure, in eV.

        Args:
            environments: the atoms of the structures.

        Raises:
            ValueError: as :meth:`deviations`.
        """
        environments.check_rows(self.descriptor, least=1)
        return float(self.factor) * self._spread(_summed(self.features, environments))

    def calibrated(
        self, model: LocalModel, environments: Environments, method: str = "squared"
    ) -> "LocalCommittee":
        """Choose the factor by the errors of examples that were not learned.

        Args:
            model: the fitted model.
            environments: examples with the energies that the model has learned.
            method: as for :func:`jaxrecon.models.calibration.calibrated`.

        Returns:
            The committee with this factor.

        Raises:
            ValueError: if these energies are not known, or as
                :func:`~jaxrecon.models.calibration.calibrated`.
        """
        factor = calibration_factor(self, model, environments, method)
        return replace(self, factor=factor)

    def _spread(self, features: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " n"]:
        """The standard deviation over the members."""
        return np.std(features @ np.asarray(self.weights).T, axis=1, ddof=1)


@jax.jit
def _members(
    left: Float[Array, "n m"], right: Float[Array, " n"], often: Float[Array, "k n"]
) -> Float[Array, "k m"]:
    """Solve the equations of all members, each observation as often as the member has it."""

    def solve(own: Float[Array, " n"]) -> Float[Array, " m"]:
        weighted = left * own[:, None]
        matrix = jnp.eye(left.shape[1], dtype=left.dtype) + product(weighted.T, left)
        factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
        return jax.scipy.linalg.cho_solve(factor, product(weighted.T, right))

    return jax.lax.map(solve, often, batch_size=TOGETHER)


def _all(features: Features, environments: Environments) -> Float[np.ndarray, "n m"]:
    """The features of all atoms in float64."""
    blocks: list[np.ndarray] = []
    for _, block in _blocks(features, environments):
        if not blocks:
            size = block.shape[1]
            needed = 8 * len(environments) * size
            check_memory(needed, f"{size} features of {len(environments)} atoms", "learn totals")
        blocks.append(block)
    return np.concatenate(blocks)


def _summed(features: Features, environments: Environments) -> Float[np.ndarray, "s m"]:
    """The features of structures, summed over their atoms, in float64."""
    sums = None
    for part, block in _blocks(features, environments):
        if sums is None:
            sums = np.zeros((len(environments.trajectories), block.shape[1]))
        np.add.at(sums, environments.owner[part], block)
    assert sums is not None, "there are environments"
    return sums


def _blocks(
    features: Features, environments: Environments
) -> Iterator[tuple[slice, Float[np.ndarray, "n m"]]]:
    """Blocks of atoms, and their features in float64."""
    for part, *block in environments.blocks():
        with jax.enable_x64(True):
            found = np.asarray(_evaluated(features, *block))
        yield part, found[: part.stop - part.start]


@jax.jit
def _evaluated(features: Features, rows: Array, kinds: Array) -> Array:
    """The features of rows; a program for all features of one structure."""
    return features(rows, kinds)
