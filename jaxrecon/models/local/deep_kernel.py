r"""DeepKernel: a Gaussian process of what a network makes of a row, with inducing points.

.. math:: \epsilon(x) \sim GP\left(0, k(h(x), h(x'))\right), \quad
    k(h, h') = a^2 e^{-|h - h'|^2 / 2}

A network h gives a few features, and its scale is that of the kernel. The process is variational:
its values at M inducing points are normal with mean :math:`L m` and covariance
:math:`L S S^\mathsf{T} L^\mathsf{T}`, where :math:`L L^\mathsf{T} = K_{MM}`; network, points, m, S
and the noise maximise the evidence lower bound on batches. Sources: Wilson et al., AISTATS 2016;
Hensman, Matthews and Ghahramani, AISTATS 2015; Gardner et al., Digital Discovery 2, 651 (2023).

The bound is short and has to run on the batches, members and devices of
:mod:`~jaxrecon.models.fitting`, which no package of Gaussian processes shares: so it is here.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.models.fitting import fit
from jaxrecon.models.local.base import LocalModel, known_offsets
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.inputs import Standard, fit_settings, items_of, split, training_count
from jaxrecon.models.local.network import CHUNK
from jaxrecon.models.perceptron import Architecture
from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn

JITTER = 1e-4
"""What is added to the variance of an inducing point, relative to it, for float32."""

NOISE = 0.1
"""Standard deviation of the noise at the beginning, in units of the energies."""


class Example(NamedTuple):
    """An atom with its local energy.

    Attributes:
        inputs: its standardised row, and an input for each element if there are several.
        energy: its energy without the mean of the element, in units of the standard deviation.
        share: part of the prior that it bears: one over the number of training examples.
    """

    inputs: Float[Array, "*n f"]
    energy: Float[Array, "*n"]
    share: Float[Array, "*n"]


@dataclass(frozen=True)
class DeepProcess:
    """The network and the process without their weights; hashable, so static under ``jit``.

    Attributes:
        network: from a standardised row to the features of the kernel.
        elements: number of elements; the index of the element is one more feature.
        inducing: number M of inducing points.
    """

    network: Architecture
    elements: int
    inducing: int

    def init(self, key: PRNGKeyArray) -> dict[str, Any]:
        """Draw initial weights; the inducing points are spread like the features."""
        network, points = jax.random.split(key)
        size = self.network.sizes[-1]
        return {
            "network": self.network.init(network),
            "points": jax.random.normal(points, (self.inducing, size)),
            "mean": jnp.zeros(self.inducing),
            "root": jnp.eye(self.inducing),
            "log_amplitude": jnp.zeros(()),
            "log_noise": jnp.log(jnp.asarray(NOISE, float)),
        }

    def features(
        self, weights: dict[str, Any], inputs: Float[Array, " f"], key: PRNGKeyArray | None
    ) -> Float[Array, " h"]:
        """The features of one atom."""
        return self.network(weights["network"], inputs, key)

    def process(
        self, weights: dict[str, Any], features: Float[Array, "n h"]
    ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """The mean and the variance of the process, without noise, at some features."""
        points = weights["points"]
        square = jnp.exp(2.0 * weights["log_amplitude"])
        own = _kernel(points, points) + JITTER * jnp.eye(len(points), dtype=points.dtype)
        lower = jnp.linalg.cholesky(square * own)
        white = solve_triangular(lower, square * _kernel(points, features), lower=True)
        spread = product(jnp.tril(weights["root"]).T, white)
        variance = square * (1.0 + JITTER) - jnp.sum(white**2, 0) + jnp.sum(spread**2, 0)
        return product(weights["mean"], white), jnp.maximum(variance, 0.0)

    def loss(self, weights: dict[str, Any], key: PRNGKeyArray, item: Example) -> Float[Array, ""]:
        """Compute minus the evidence lower bound of one atom.

        Args:
            weights: weights as from :meth:`init`.
            key: random key of dropout.
            item: an atom with its local energy.

        Returns:
            Minus the expected logarithm of the likelihood, plus the divergence from the prior over
            the number of training examples.
        """
        features = self.features(weights, item.inputs, key)
        mean, variance = self.process(weights, features[None])
        noise = jnp.exp(2.0 * weights["log_noise"])
        miss = (item.energy - mean[0]) ** 2 + variance[0]
        likelihood = -0.5 * (miss / noise + jnp.log(2.0 * jnp.pi * noise))
        root = jnp.tril(weights["root"])
        diagonal = jnp.diagonal(root) ** 2
        divergence = 0.5 * (
            jnp.sum(root**2)
            + jnp.sum(weights["mean"] ** 2)
            - jnp.sum(jnp.log(jnp.maximum(diagonal, 1e-12)))
            - self.inducing
        )
        return item.share * divergence - likelihood


@register_dataclass
@dataclass(frozen=True, eq=False)
class DeepKernel(LocalModel):
    """A fitted deep kernel.

    Attributes:
        process: network and process without their weights.
        weights: their weights.
        standard: how rows and energies are standardised.
    """

    process: DeepProcess = field(metadata={"static": True})
    weights: dict[str, Any]
    standard: Standard

    @classmethod
    def fit(
        cls,
        environments: Environments,
        config: LocalConfig | None = None,
        *,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "DeepKernel":
        """Fit network and process to local energies.

        Args:
            environments: what to learn from, with local energies.
            config: settings; ``targets`` has to be None or ``"local"``.
            report: called after some epochs with the epochs and examples since its last call.

        Returns:
            The fitted model.

        Raises:
            ValueError: if local energies are not known, something else is to be learned, or there
                are fewer than two examples.
        """
        config = config or LocalConfig()
        if config.forces or config.targets in ("total", "both") or environments.energies is None:
            raise ValueError(
                "expected local energies alone for a deep kernel, got other targets: a network or "
                "a kernel learns totals"
            )
        offsets, standard = known_offsets(environments), Standard.of(environments)
        training, validation = split(environments, True, config)
        count = training_count(config, len(environments))
        kinds = len(environments.descriptor.species)
        sizes = (
            environments.rows.shape[1] + (kinds if kinds > 1 else 0),
            *[config.hidden] * config.layers,
            config.features,
        )
        process = DeepProcess(
            Architecture(sizes, "celu", config.dropout),
            kinds,
            min(config.inducing, count),
        )
        items = items_of(environments, standard, config)
        inputs = _with_kinds(items.inputs, items.kinds, kinds)
        share = jnp.full(len(inputs), 1.0 / len(training), inputs.dtype)
        found = fit(
            process,
            Example(inputs[:, 0], items.local[:, 0], share),
            training[None],
            validation[None],
            fit_settings(config, count),
            seed=config.seed,
            decay=True,
            chunk=CHUNK,
            report=report,
        )
        weights = jax.tree.map(lambda array: array[0], found.weights)
        return cls(environments.descriptor, offsets, process, weights, standard)

    def distribution(
        self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]
    ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Compute energies without the mean of the element, and their standard deviations.

        Args:
            rows: rows of the atoms.
            kinds: index of the element of each atom.

        Returns:
            Energies in eV, and standard deviations in eV, noise included.
        """
        dtype = rows.dtype
        weights = jax.tree.map(lambda array: jnp.asarray(array, dtype), self.weights)
        inputs = _with_kinds(self.standard.inputs(rows), kinds, self.process.elements)
        features = jax.vmap(self.process.features, (None, 0, None))(weights, inputs, None)
        mean, variance = self.process.process(weights, features)
        width = jnp.asarray(self.standard.width, dtype)
        noise = jnp.exp(2.0 * weights["log_noise"])
        return width * mean, width * jnp.sqrt(variance + noise)

    def deviations(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, " n"]:
        """The mean of the process; see the base class."""
        return self.distribution(rows, kinds)[0]


def _kernel(left: Float[Array, "a h"], right: Float[Array, "b h"]) -> Float[Array, "a b"]:
    """The kernel of features, with the amplitude 1."""
    squares = jnp.sum(left**2, 1)[:, None] + jnp.sum(right**2, 1)[None, :]
    return jnp.exp(-jnp.maximum(squares - 2.0 * product(left, right.T), 0.0) / 2.0)


def _with_kinds(
    inputs: Float[Array, "*n f"], kinds: Int[Array, " *n"], elements: int
) -> Float[Array, "*n g"]:
    """Add an input for each element, if there are several."""
    if elements == 1:
        return inputs
    hot = jax.nn.one_hot(kinds, elements, dtype=inputs.dtype)
    return jnp.concatenate([inputs, hot], axis=-1)
