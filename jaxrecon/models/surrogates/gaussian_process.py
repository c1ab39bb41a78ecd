r"""Gaussian process: a surrogate for small training sets, with a reliable uncertainty.

The covariance of the property of two structures, with standardised coordinates u and v of their
fingerprints (:mod:`jaxrecon.models.coordinates`), is that of a linear function plus a smooth
deviation from it,

.. math:: k(u, v) = a^2 e^{-|u - v|^2 / 2 l^2} + b^2 (u \cdot v + 1),

with noise of variance :math:`\sigma^2` for everything that the fingerprint does not determine. The
four hyperparameters maximise the marginal likelihood (Rasmussen and Williams, *Gaussian Processes
for Machine Learning*, 2006, chapters 2 and 5; computed by scikit-learn). The mean uses all training
examples. With more than :data:`MAX_EXAMPLES` of them, the hyperparameters and the variance use a
random sample, which makes the variance too large rather than too small. Where forces are known,
they are observations too: see :mod:`jaxrecon.models.surrogates.gradient_kernel`.
"""

import os
import warnings
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.models.config import TrainConfig
from jaxrecon.models.coordinates import MIN_WIDTH, Coordinates
from jaxrecon.models.examples import Examples
from jaxrecon.models.surrogates.base import Surrogate
from jaxrecon.models.surrogates.gradient_kernel import Observed, gradient_noise, posterior
from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.search.guidance import Prediction

MAX_EXAMPLES = 1000
"""Largest number of examples for the hyperparameters, the variance and gradients."""

MAX_OBSERVATIONS = 12_000
"""Largest number of observations: values and gradients, or else a random sample of the values."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class GaussianProcess(Surrogate):
    r"""A fitted Gaussian process.

    Attributes:
        coordinates: map between fingerprints and coordinates.
        centre: mean of each coordinate over the training examples.
        inverse_width: one over the standard deviation of each coordinate; 0 for a constant one.
        inputs: standardised coordinates of the training examples.
        weights: factors of the covariances with the training examples, for the mean.
        factor: matrix G of the variance :math:`k(u, u) - |G k(u)|^2`, where k(u) are the
            covariances with the first r training examples.
        kernel: hyperparameters :math:`a^2`, :math:`l`, :math:`b^2` and :math:`\sigma^2`, for a
            property in units of its standard deviation.
        gradient_weights: what observed gradients add to the weights, along the coordinates; None
            without gradients.
        inflation: factor that makes the standard deviations agree with the errors of examples left
            out; 1 where none were left out.
        mean: mean of the property over the training examples, in its unit.
        deviation: standard deviation of the property over the training examples, in its unit.
    """

    inflated: ClassVar[bool] = True

    coordinates: Coordinates = field(metadata={"static": True})
    centre: Float[np.ndarray | Array, " d"]
    inverse_width: Float[np.ndarray | Array, " d"]
    inputs: Float[np.ndarray | Array, "m d"]
    weights: Float[np.ndarray | Array, " m"]
    factor: Float[np.ndarray | Array, "r r"]
    kernel: Float[np.ndarray | Array, " 4"]
    gradient_weights: Float[np.ndarray | Array, "m d"] | None
    inflation: Float[np.ndarray | Array, ""]
    mean: Float[np.ndarray | Array, ""]
    deviation: Float[np.ndarray | Array, ""]

    @classmethod
    def fit(
        cls,
        examples: Examples,
        config: TrainConfig | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "GaussianProcess":
        """Fit the hyperparameters and condition the process on the training examples.

        Args:
            examples: data to fit to. Gradients are used if there are at most
                :data:`MAX_EXAMPLES` examples and :data:`MAX_OBSERVATIONS` numbers in all.
            config: settings, of which ``forces`` is used; None for the default ones.
            folder: not used: the fit has no epochs.
            report: not used.

        Returns:
            The fitted process.
        """
        config = config or TrainConfig()
        if config.forces and examples.gradients is not None:
            known = np.isfinite(examples.gradients).all(axis=1)
            if known.any() and not known.all():
                warnings.warn(
                    f"expected forces of all {len(known)} examples to learn from them, got none of "
                    f"{np.sum(~known)}: energies alone are learned",
                    stacklevel=3,
                )
        return cls._conditioned(examples, config, examples.training)

    def refit(
        self, examples: Examples, config: TrainConfig, calibration: float
    ) -> "GaussianProcess":
        """Condition on all examples: without early stopping it needs no validation set.

        Args:
            examples: the data that it was fitted to.
            config: settings that it was fitted with.
            calibration: root mean square of error over predicted deviation on the validation
                examples. If it is larger than 1, the deviations are multiplied by it: examples left
                out one by one don't show how errors grow on trajectories that are not known.

        Returns:
            The process to use.
        """
        whole = self._conditioned(examples, config, np.arange(len(examples.values)))
        return replace(whole, inflation=np.asarray(max(calibration, 1.0) * whole.inflation))

    @classmethod
    def _conditioned(
        cls, examples: Examples, config: TrainConfig, selected: Int[np.ndarray, " s"]
    ) -> "GaussianProcess":
        """Fit to the selected examples."""
        values = examples.values[selected]
        mean, deviation = values.mean(), values.std()
        # Standardise the coordinates and the values. A constant coordinate becomes 0.
        coordinates = Coordinates.of(examples.fingerprint)
        raw = coordinates.forward_many(examples.fingerprints[selected])
        centre, width = raw.mean(axis=0), raw.std(axis=0)
        inverse_width = np.where(width > MIN_WIDTH, 1.0 / np.maximum(width, MIN_WIDTH), 0.0)
        inputs = (raw - centre) * inverse_width
        outputs = (values - mean) / deviation
        # In a random order, the first examples are a random sample.
        if len(values) > MAX_EXAMPLES:
            sample = np.random.default_rng(0).permutation(len(values))[:MAX_OBSERVATIONS]
            inputs, outputs = inputs[sample], outputs[sample]
        kernel = _most_likely(inputs[:MAX_EXAMPLES], outputs[:MAX_EXAMPLES])
        # The variance knows the values alone: with gradients, every prediction would have to
        # compute the covariances with all of them.
        factor = _factor(kernel, inputs[:MAX_EXAMPLES])
        gradient_weights, inflation = None, 1.0
        if config.forces and _gradients_fit(examples):
            assert examples.gradients is not None, "gradients fit"
            by_positions = _coordinate_jacobians(coordinates, examples, selected)
            observed = Observed(
                inputs,
                by_positions * inverse_width[:, None],
                outputs,
                examples.gradients[selected] / deviation,
            )
            noise = gradient_noise(observed, kernel)
            weights, gradient_weights, left_out = posterior(observed, kernel, noise)
            # Variances without gradients are compared with errors left out with gradients.
            variances = 1.0 / np.sum(factor**2, axis=0)
            inflation = float(np.sqrt(np.mean(left_out**2 / variances)))
        else:
            weights = _weights(kernel, inputs, outputs)
        return cls(
            coordinates=coordinates,
            centre=centre,
            inverse_width=inverse_width,
            inputs=inputs,
            weights=weights,
            factor=factor,
            kernel=kernel,
            gradient_weights=gradient_weights,
            inflation=np.asarray(inflation),
            mean=np.asarray(mean),
            deviation=np.asarray(deviation),
        )

    def __call__(self, fingerprint: Float[Array, " p"]) -> Prediction:
        """Predict the property.

        Args:
            fingerprint: numbers without a unit.

        Returns:
            The property and the standard deviation of its error, noise included, in its unit.
        """
        own = jax.tree.map(lambda array: jnp.asarray(array, fingerprint.dtype), self)
        amplitude, length, linear, noise = own.kernel
        u = (self.coordinates.forward(fingerprint) - own.centre) * own.inverse_width
        # |u - v|^2 = |u|^2 - 2 u v + |v|^2 as matrix products: for many structures at once, the
        # differences would not fit into a cache.
        along = product(own.inputs, u)
        squares = product(u, u) - 2.0 * along + jnp.sum(own.inputs**2, axis=1)
        near = amplitude * jnp.exp(-jnp.maximum(squares, 0.0) / (2.0 * length**2))
        covariances = near + linear * (along + 1.0)
        explained = jnp.sum(product(own.factor, covariances[: len(own.factor)]) ** 2)
        variance = amplitude + linear * (product(u, u) + 1.0) - explained
        # At a training example, round-off can make the variance negative; the noise is larger.
        spread = own.inflation * jnp.sqrt(jnp.maximum(variance, 0.0) + noise)
        predicted = product(covariances, own.weights)
        # Observed gradients add the derivatives of the covariances.
        if own.gradient_weights is not None:
            pulled = product(own.gradient_weights, u)
            offsets = jnp.sum(own.inputs * own.gradient_weights, axis=1)
            predicted += product(near, pulled - offsets) / length**2
            predicted += linear * jnp.sum(pulled)
        return own.mean + own.deviation * predicted, own.deviation * spread

    @classmethod
    def restore(
        cls, arrays: dict[str, Any], fingerprint: Fingerprint, config: TrainConfig
    ) -> "GaussianProcess":
        """Make a fitted process from the arrays that were saved.

        Args:
            arrays: the fields that are not static, by name.
            fingerprint: parameters of the fingerprints.
            config: settings that it was fitted with.

        Returns:
            The process that was saved.
        """
        return cls(coordinates=Coordinates.of(fingerprint), **arrays)


def _gradients_fit(examples: Examples) -> bool:
    """Return whether gradients are known for all examples and few enough to be observations."""
    gradients, count = examples.gradients, len(examples.values)
    return (
        gradients is not None
        and examples.structures is not None
        and bool(np.isfinite(gradients).all())
        and count <= MAX_EXAMPLES
        and gradients.size + count <= MAX_OBSERVATIONS
    )


def _coordinate_jacobians(
    coordinates: Coordinates, examples: Examples, selected: Int[np.ndarray, " s"]
) -> Float[np.ndarray, "s p x"]:
    """Compute the derivatives of the coordinates of the selected examples by the positions."""
    with jax.enable_x64(True):
        fingerprints = jnp.asarray(examples.fingerprints[selected], jnp.float64)
        by_fingerprint = np.asarray(jax.vmap(jax.jacfwd(coordinates.forward))(fingerprints))
    return np.einsum("npq,nqx->npx", by_fingerprint, examples.jacobians[selected])


def _most_likely(
    inputs: Float[np.ndarray, "m d"], outputs: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " 4"]:
    """Find the hyperparameters that maximise the marginal likelihood."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
    from threadpoolctl import threadpool_limits

    # The length starts at the typical norm of an input; all ranges span orders of magnitude.
    typical = float(np.sqrt(max((inputs**2).sum(axis=1).mean(), 1.0)))
    amplitude, linear = ConstantKernel(0.3, (1e-4, 1e3)), ConstantKernel(1e-2, (1e-6, 1e2))
    length = RBF(typical, (0.03 * typical, 100.0 * typical))
    kernel = amplitude * length + linear * DotProduct(1.0, "fixed")
    process = GaussianProcessRegressor(kernel + WhiteKernel(1e-3, (1e-6, 1.0)))
    # Matrices this small take more time to divide among threads than to multiply.
    with threadpool_limits(1), warnings.catch_warnings():
        # A hyperparameter at the end of its range is an answer: there is no noise, for example.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(inputs, outputs)
    return np.asarray(np.exp(process.kernel_.theta))


def _covariances(
    kernel: Float[np.ndarray, " 4"], left: Float[np.ndarray, "n d"], right: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "n m"]:
    """Compute the covariances of two sets of inputs, without noise."""
    from scipy.spatial.distance import cdist

    # In place: with ten thousand examples, each of these matrices takes a gigabyte.
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
    """Compute the factors of the covariances with the inputs for the mean."""
    from scipy.linalg import cho_factor, cho_solve

    own = _covariances(kernel, inputs, inputs)
    own[np.diag_indices_from(own)] += kernel[3]
    return cho_solve(cho_factor(own, overwrite_a=True), outputs)


def _factor(
    kernel: Float[np.ndarray, " 4"], inputs: Float[np.ndarray, "r d"]
) -> Float[np.ndarray, "r r"]:
    """Compute the matrix that multiplies the covariances with the inputs for the variance."""
    from scipy.linalg import cholesky, solve_triangular

    identity = np.eye(len(inputs))
    lower = cholesky(_covariances(kernel, inputs, inputs) + kernel[3] * identity, lower=True)
    return solve_triangular(lower, identity, lower=True)
