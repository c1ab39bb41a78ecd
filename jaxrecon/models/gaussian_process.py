r"""Gaussian process: a property from few fingerprints, with an uncertainty that can be trusted.

The covariance of the property at two structures, in standardised coordinates u of their
fingerprints (:mod:`jaxrecon.models.coordinates`), is that of a straight line and of what deviates
from it,

.. math:: k(u, v) = a^2 e^{-|u - v|^2 / 2 l^2} + b^2 (u \cdot v + 1),

with noise of variance :math:`\sigma^2`, which stands for all that the fingerprint does not tell.
The four numbers maximise the marginal likelihood (Rasmussen and Williams, *Gaussian Processes for
Machine Learning*, 2006, chapters 2 and 5; scikit-learn does it). Past :data:`MOST` rows the
process is projected on that many inducing ones (chapter 8.3.4, Titsias, AISTATS 2009). Where
forces are known they are observations as well: see :mod:`jaxrecon.models.slopes`.
"""

import warnings
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon.datasets.sampling import furthest_points
from jaxrecon.fingerprint import Fingerprint
from jaxrecon.models.coordinates import Coordinates
from jaxrecon.models.predictors import Prediction
from jaxrecon.models.slopes import Observed, most_likely, posterior

MOST = 1000
"""Rows that decide the four numbers, and that the process is projected on."""

MOST_NUMBERS = 12_000
"""Values and gradients that a process learns from; where there are more it learns from values."""

DEAD = 1e-5
"""Standard deviation of a coordinate below which it says nothing."""

JITTER = 1e-8


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A fitted process: a :class:`~jaxrecon.models.predictors.Predictor`.

    Attributes:
        coordinates: of the fingerprint.
        centre: mean of each coordinate in the training rows.
        slope: one over its standard deviation; 0 for a dead one.
        points: standardised coordinates of the training or inducing rows.
        weights: of the covariances with them, for the mean.
        factor: G, for the variance :math:`k(u, u) - |G k(u)|^2`.
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
    factor: Float[np.ndarray | Array, "r m"]
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
        slopes: Float[np.ndarray, "n p x"] | None = None,
        gradients: Float[np.ndarray, "n x"] | None = None,
    ) -> "GaussianProcess":
        """The process that a training set is most likely under.

        Args:
            fingerprint: what the rows are.
            rows: fingerprints, without a unit.
            values: the property of each.
            slopes: derivatives of the fingerprint of each by its positions, in 1/Angstrom.
            gradients: of the property by the positions, in its unit by Angstrom. Of more than
                12,000 numbers in all they are left out.

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
        some = np.arange(len(rows)) if len(rows) <= MOST else furthest_points(inputs, MOST)
        kernel = _most_likely(inputs[some], outputs[some])
        pull = None
        if (
            slopes is None
            or gradients is None
            or len(some) < len(rows)
            or gradients.size + len(rows) > MOST_NUMBERS
        ):
            weights, factor = _posterior(kernel, inputs, outputs, inputs[some])
            caution = 1.0
        else:
            with jax.enable_x64(True):
                bend = jax.vmap(jax.jacfwd(coordinates.forward))(jnp.asarray(rows, jnp.float64))
            inner = np.einsum("npq,nqx->npx", np.asarray(bend), slopes) * slope[:, None]
            observed = Observed(inputs, inner, outputs, gradients / deviation)
            kernel, noise = most_likely(observed, kernel)
            weights, pull, left_out = posterior(observed, kernel, noise)
            # Of values alone: with gradients it would take as many numbers at every prediction.
            _, factor = _posterior(kernel, inputs, outputs, inputs)
            variances = 1.0 / np.sum(factor**2, axis=0)
            caution = float(np.sqrt(np.mean(left_out**2 / variances)))
        return cls(
            coordinates=coordinates,
            centre=centre,
            slope=slope,
            points=inputs[some],
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
        away = u[None, :] - own.points
        near = amplitude * jnp.exp(-jnp.sum(away**2, axis=1) / (2.0 * length**2))
        covariances = near + linear * (_times(own.points, u) + 1.0)
        variance = (
            amplitude + linear * (u @ u + 1.0) - jnp.sum(_times(own.factor, covariances) ** 2)
        )
        # What round-off makes of a variance at a training row is no more than the noise.
        spread = own.caution * jnp.sqrt(jnp.maximum(variance, 0.0) + noise)
        told = covariances @ own.weights
        if own.pull is not None:
            told += near @ jnp.sum(away * own.pull, axis=1) / length**2
            told += linear * jnp.sum(_times(own.pull, u))
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

    amplitude, length, linear, _ = kernel
    near = np.exp(-cdist(left, right, "sqeuclidean") / (2.0 * length**2))
    return amplitude * near + linear * (left @ right.T + 1.0)


def _posterior(
    kernel: Float[np.ndarray, " 4"],
    inputs: Float[np.ndarray, "n d"],
    outputs: Float[np.ndarray, " n"],
    points: Float[np.ndarray, "m d"],
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "r m"]]:
    """Weights and factor: exact where the points are all inputs, else projected."""
    from scipy.linalg import cho_solve, cholesky, eigh, solve_triangular

    noise, own = kernel[3], _covariances(kernel, points, points)
    if len(points) == len(inputs):
        lower = cholesky(own + noise * np.eye(len(own)), lower=True)
        weights = cho_solve((lower, True), outputs)
        return weights, solve_triangular(lower, np.eye(len(own)), lower=True)
    own += JITTER * np.trace(own) / len(own) * np.eye(len(own))
    across = _covariances(kernel, points, inputs)
    precision = own + across @ across.T / noise
    lower, lower_own = cholesky(precision, lower=True), cholesky(own, lower=True)
    weights = cho_solve((lower, True), across @ outputs) / noise
    every = np.eye(len(own))
    less = cho_solve((lower_own, True), every) - cho_solve((lower, True), every)
    squares, vectors = eigh((less + less.T) / 2.0)
    return weights, np.sqrt(np.maximum(squares, 0.0))[:, None] * vectors.T
