r"""LinearModel: local energies that are linear in the row of the atom, as in a ridge regression."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.models.local.base import Features, LocalModel, known_offsets
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.system import solve, without_unused
from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn

SMALLEST = 100.0
"""Standard deviation, in units of round-off of the largest number, below which one is constant."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class LinearFeatures:
    """Standardised rows with one more number, which is 1, apart for each element.

    Attributes:
        centre: mean of each number over the training environments.
        scale: what each standardised number is multiplied by in eV; 0 for a constant one.
        kinds: one row for each element, of which only the number matters.
    """

    centre: Float[np.ndarray | Array, " f"]
    scale: Float[np.ndarray | Array, " f"]
    kinds: Float[np.ndarray | Array, " e"]

    def __call__(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "n m"]:
        """Compute the features of rows."""
        centre, scale = (jnp.asarray(part, rows.dtype) for part in (self.centre, self.scale))
        inputs = (rows - centre[None]) * scale[None]
        inputs = jnp.concatenate([inputs, jnp.ones_like(inputs[:, :1])], axis=1)
        count = len(self.kinds)
        own = kinds[:, None] == jnp.arange(count, dtype=kinds.dtype)[None]
        return jnp.where(own[:, :, None], inputs[:, None, :], 0.0).reshape(len(rows), -1)


@register_dataclass
@dataclass(frozen=True, eq=False)
class LinearModel(LocalModel):
    """A linear model of local energies.

    Attributes:
        features: standardised rows, or other features of rows.
        weights: weight of each feature.
    """

    features: Features
    weights: Float[np.ndarray | Array, " m"]

    @classmethod
    def fit(
        cls,
        environments: Environments,
        config: LocalConfig | None = None,
        *,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "LinearModel":
        """Fit the weights by regularised least squares.

        Args:
            environments: local energies, totals and forces, as the settings choose.
            config: settings, of which targets and noise are used.
            report: called once.

        Returns:
            The fitted model.

        Raises:
            ValueError: if what the settings name is not known.
        """
        config = config or LocalConfig()
        environments = without_unused(environments, config)
        rows = environments.rows.astype(np.float64)
        centre, width = rows.mean(axis=0), rows.std(axis=0)
        # Round-off must not become a feature.
        varied = width > SMALLEST * np.finfo(environments.rows.dtype).eps * np.abs(rows).max()
        scale = np.where(varied, 1.0 / np.where(varied, width, 1.0), 0.0)
        kinds = np.zeros(len(environments.descriptor.species))
        features = LinearFeatures(centre, scale, kinds)
        count = len(kinds) * (rows.shape[1] + 1)
        weights = solve(features, count, environments, config)
        report(1, len(rows))
        return cls(environments.descriptor, known_offsets(environments), features, weights)

    def last_features(self) -> Features:
        """The features; see the base class."""
        return self.features

    def deviations(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, " n"]:
        """Compute the energies of atoms without the mean of their element; see the base class."""
        return product(self.features(rows, kinds), jnp.asarray(self.weights, rows.dtype))
