r"""Gaussian process: a property from few fingerprints, with an uncertainty that can be trusted.

The covariance of the property at two structures, in standardised coordinates u of their
fingerprints (:mod:`jaxrecon.models.coordinates`), is that of a straight line and of what deviates
from it,

.. math:: k(u, v) = a^2 e^{-|u - v|^2 / 2 l^2} + b^2 (u \cdot v + 1),

with noise of variance :math:`\sigma^2`, which stands for all that the fingerprint does not tell.
The four numbers maximise the marginal likelihood (Rasmussen and Williams, *Gaussian Processes for
Machine Learning*, 2006, chapters 2 and 5; scikit-learn does it). The mean is that of all rows; past
:data:`MOST` of them the four numbers and the variance are those of a random sample, so that the
variance is rather too large than too small. Where forces are known they are observations as well:
see :mod:`jaxrecon.models.surrogates.gradient_kernel`.
"""

import warnings
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.coordinates import Coordinates
from jaxrecon.models.surrogates.gradient_kernel import Observed, gradient_noise, posterior
from jaxrecon.search.guidance import Prediction

MOST = 1000
"""Rows that decide the four numbers, and how sure the process is."""

MOST_NUMBERS = 12_000
"""What a process learns from at most: values and gradients, else values, else some of them."""

DEAD = 1e-5
"""Standard deviation of a coordinate below which it says nothing."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A fitted process: a :class:`~jaxrecon.search.guidance.Predictor`.

    Attributes:
        coordinates: of the fingerprint.
        centre: mean of each coordinate in the training rows.
        slope: one over its standard deviation; 0 for a dead one.
        points: standardised coordinates of the training rows.
        weights: of the covariances with them, for the mean.
        factor: G, for the variance :math:`k(u, u) - |G k(u)|^2`, k(u) with the first r points.
        kernel: :math:`a^2`, :math:`l`, :math:`b^2` and :math:`\\sigma^2`, the property in units of
            its standard deviation.
        pull: what gradients add to the weights, along the coordinates; None without them.
        caution: factor on standard deviations that makes them true of rows that are left out where
            gradients are known; 1 without them.
        mean: of the property in the training rows, in its unit.
        deviation: standard deviation of the property there.
    """

    coordinates: Coordinates = field(metadata={"static": True})
    centre: Float[np.ndarray | Array, " d"]
    slope: Float[np.ndarray | Array, " d"]
    points: Float[np.ndarray | Array, "m d"]
    weights: Float[np.ndarray | Array, " m"]
    factor: Float[np.ndarray | Array, "r r"]
    kernel: Float[np.ndarray | Array, " 4"]
    pull: Float[np.ndarray | Array, "m d"] | None
    caution: Float[np.ndarray | Array, ""]
    mean: Float[np.ndarray | Array, ""]
    deviation: Float[np.ndarray | Array, ""]

    @classmethod
    def fit(
        cls,
        fingerprint: Fingerprint,
        rows: Float[np.ndarray, "n p"],
        values: Float[np.ndarray, " n"],
        *,
        jacobians: Float[np.ndarray, "n p x"] | None = None,
        gradients: Float[np.ndarray, "n x"] | None = None,
    ) -> "GaussianProcess":
        """The process that a training set is most likely under.

        Args:
            fingerprint: what the rows are.
            rows: fingerprints, without a unit.
            values: the property of each.
            jacobians: derivatives of the fingerprint of each by its positions, in 1/Angstrom.
            gradients: of the property by the positions, in its unit by Angstrom. Of more than
                1,000 rows, or 12,000 numbers in all, they are left out.

        Raises:
            ValueError: if a number is not finite, or all values are the same.
        """
        if not (np.isfinite(rows).all() and np.isfinite(values).all()):
            raise ValueError("expected finite fingerprints and values, got others")
        mean, deviation = values.mean(), values.std()
        if not deviation > 0.0:
            raise ValueError(f"expected values that differ, got {values[0]} for all")
        coordinates = Coordinates.of(fingerprint)
        with jax.enable_x64(True):
            raw = np.asarray(jax.vmap(coordinates.forward)(jnp.asarray(rows, jnp.float64)))
        centre, width = raw.mean(axis=0), raw.std(axis=0)
        slope = np.where(width > DEAD, 1.0 / np.maximum(width, DEAD), 0.0)
        inputs = (raw - centre) * slope
        outputs = (values - mean) / deviation
        if len(rows) > MOST:
            some = np.random.default_rng(0).permutation(len(rows))[:MOST_NUMBERS]
            inputs, outputs = inputs[some], outputs[some]
        kernel = _most_likely(inputs[:MOST], outputs[:MOST])
        # Of values alone: with gradients it would take as many numbers at every prediction.
        factor = _factor(kernel, inputs[:MOST])
        pull = None
        if (
            jacobians is None
            or gradients is None
            or len(rows) > MOST
            or gradients.size + len(rows) > MOST_NUMBERS
        ):
            weights = _weights(kernel, inputs, outputs)
            caution = 1.0
        else:
            with jax.enable_x64(True):
                bend = jax.vmap(jax.jacfwd(coordinates.forward))(jnp.asarray(rows, jnp.float64))
            inner = np.einsum("npq,nqx->npx", np.asarray(bend), jacobians) * slope[:, None]
            observed = Observed(inputs, inner, outputs, gradients / deviation)
            noise = gradient_noise(observed, kernel)
            weights, pull, left_out = posterior(observed, kernel, noise)
            variances = 1.0 / np.sum(factor**2, axis=0)
            caution = float(np.sqrt(np.mean(left_out**2 / variances)))
        return cls(
            coordinates=coordinates,
            centre=centre,
            slope=slope,
            points=inputs,
            weights=weights,
            factor=factor,
            kernel=kernel,
            pull=pull,
            caution=np.asarray(caution),
            mean=np.asarray(mean),
            deviation=np.asarray(deviation),
        )

    def __call__(self, fingerprint: Float[Array, " p"]) -> Prediction:
        """The property and the standard deviation of its error, noise included."""
        own = jax.tree.map(lambda each: jnp.asarray(each, fingerprint.dtype), self)
        amplitude, length, linear, noise = own.kernel
        u = (self.coordinates.forward(fingerprint) - own.centre) * own.slope
        # Products of matrices, as |u - v|^2 = |u|^2 - 2 u v + |v|^2: for many structures at once
        # the differences would take more memory than a cache has.
        along = _times(own.points, u)
        squares = u @ u - 2.0 * along + jnp.sum(own.points**2, axis=1)
        near = amplitude * jnp.exp(-jnp.maximum(squares, 0.0) / (2.0 * length**2))
        covariances = near + linear * (along + 1.0)
        explained = jnp.sum(_times(own.factor, covariances[: len(own.factor)]) ** 2)
        variance = amplitude + linear * (u @ u + 1.0) - explained
        # What round-off makes of a variance at a training row is no more than the noise.
        spread = own.caution * jnp.sqrt(jnp.maximum(variance, 0.0) + noise)
        told = covariances @ own.weights
        if own.pull is not None:
            pulled = _times(own.pull, u)
            told += near @ (pulled - jnp.sum(own.points * own.pull, axis=1)) / length**2
            told += linear * jnp.sum(pulled)
        return own.mean + own.deviation * told, own.deviation * spread


def _times(matrix: Float[Array, "a b"], vector: Float[Array, " b"]) -> Float[Array, " a"]:
    return jnp.matmul(matrix, vector, precision=Precision.HIGHEST)


def _most_likely(
    inputs: Float[np.ndarray, "m d"], outputs: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " 4"]:
    """The four numbers of the kernel."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    typical = float(np.sqrt(max((inputs**2).sum(axis=1).mean(), 1.0)))
    amplitude, linear = ConstantKernel(0.3, (1e-4, 1e3)), ConstantKernel(1e-2, (1e-6, 1e2))
    length = RBF(typical, (0.03 * typical, 100.0 * typical))
    kernel = amplitude * length + linear * DotProduct(1.0, "fixed")
    process = GaussianProcessRegressor(kernel + WhiteKernel(1e-3, (1e-6, 1.0)))
    with warnings.catch_warnings():
        # A number at the end of its range is an answer: without noise, say, or without a bend.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(inputs, outputs)
    return np.asarray(np.exp(process.kernel_.theta))


def _covariances(
    kernel: Float[np.ndarray, " 4"], left: Float[np.ndarray, "n d"], right: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "n m"]:
    from scipy.spatial.distance import cdist

    # In place: of ten thousand rows each of these matrices is a gigabyte.
    amplitude, length, linear, _ = kernel
    near = cdist(left, right, "sqeuclidean")
    near /= -2.0 * length**2
    np.exp(near, out=near)
    near *= amplitude
    along = left @ right.T
    along += 1.0
    along *= linear
    near += along
    return near


def _weights(
    kernel: Float[np.ndarray, " 4"],
    inputs: Float[np.ndarray, "n d"],
    outputs: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """What the covariances with the inputs are multiplied by for the mean."""
    from scipy.linalg import cho_factor, cho_solve

    own = _covariances(kernel, inputs, inputs)
    own[np.diag_indices_from(own)] += kernel[3]
    return cho_solve(cho_factor(own, overwrite_a=True), outputs)


def _factor(
    kernel: Float[np.ndarray, " 4"], inputs: Float[np.ndarray, "r d"]
) -> Float[np.ndarray, "r r"]:
    """What the covariances with the inputs are multiplied by for the variance."""
    from scipy.linalg import cholesky, solve_triangular

    every = np.eye(len(inputs))
    lower = cholesky(_covariances(kernel, inputs, inputs) + kernel[3] * every, lower=True)
    return solve_triangular(lower, every, lower=True)
