r"""Gaussian process: a property from few fingerprints, with an uncertainty that can be trusted.

The covariance of the property at two structures, in standardised coordinates u of their
fingerprints (:mod:`jaxrecon.models.coordinates`), is that of a straight line and of what deviates
from it,

.. math:: k(u, v) = a^2 e^{-|u - v|^2 / 2 l^2} + b^2 (u \cdot v + 1),

with noise of variance :math:`\sigma^2`, which stands for all that the fingerprint does not tell.
The four numbers maximise the marginal likelihood (Rasmussen and Williams, *Gaussian Processes for
Machine Learning*, 2006, chapters 2 and 5; scikit-learn does it). Past :data:`MOST` rows the
process is projected on that many inducing ones (chapter 8.3.4, Titsias, AISTATS 2009).
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

MOST = 1000
"""Rows that decide the four numbers, and that the process is projected on."""

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
    mean: Float[np.ndarray | Array, ""]
    deviation: Float[np.ndarray | Array, ""]

    @classmethod
    def fit(
        cls,
        fingerprint: Fingerprint,
        rows: Float[np.ndarray, "n p"],
        values: Float[np.ndarray, " n"],
    ) -> "GaussianProcess":
        """The process that a training set is most likely under.

        Args:
            fingerprint: what the rows are.
            rows: fingerprints, without a unit.
            values: the property of each.

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
        weights, factor = _posterior(kernel, inputs, outputs, inputs[some])
        return cls(
            coordinates=coordinates,
            centre=centre,
            slope=slope,
            points=inputs[some],
            weights=weights,
            factor=factor,
            kernel=kernel,
            mean=np.asarray(mean),
            deviation=np.asarray(deviation),
        )

    def __call__(self, fingerprint: Float[Array, " p"]) -> Prediction:
        """The property and the standard deviation of its error, noise included."""
        dtype = fingerprint.dtype
        centre, slope, points, weights, factor, kernel, mean, deviation = (
            jnp.asarray(each, dtype)
            for each in (
                self.centre,
                self.slope,
                self.points,
                self.weights,
                self.factor,
                self.kernel,
                self.mean,
                self.deviation,
            )
        )
        amplitude, length, linear, noise = kernel
        u = (self.coordinates.forward(fingerprint) - centre) * slope
        squares = jnp.sum((points - u[None, :]) ** 2, axis=1)
        near = amplitude * jnp.exp(-squares / (2.0 * length**2))
        covariances = near + linear * (_times(points, u) + 1.0)
        variance = amplitude + linear * (u @ u + 1.0) - jnp.sum(_times(factor, covariances) ** 2)
        # What round-off makes of a variance at a training row is no more than the noise.
        spread = jnp.sqrt(jnp.maximum(variance, 0.0) + noise)
        return mean + deviation * (covariances @ weights), deviation * spread


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
