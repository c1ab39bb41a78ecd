r"""Gradients as observations of a Gaussian process: forces say how the property changes.

With the Jacobian :math:`J_i = \partial u_i / \partial x` of the coordinates u of structure i by its
positions, an observed gradient is :math:`g_i = J_i^T \nabla f(u_i)`. Hence the covariances

.. math:: \mathrm{cov}(f(u), g_j) = \partial_v k(u, v) J_j, \qquad
          \mathrm{cov}(g_i, g_j) = J_i^T \partial_u \partial_v k(u, v) J_j

at :math:`u = u_i` and :math:`v = u_j`. Sources: Solak et al., NeurIPS 2002; for forces and
descriptors of atoms Bartok and Csanyi, Int. J. Quantum Chem. 115, 1051 (2015).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NOISE_STRUCTURES = 50
"""Number of structures whose gradients determine the noise of gradients."""

LOG_NOISE = (-12.0, 2.0)
"""Range of the logarithm of that noise, as a variance in units of the mean square gradient."""

NOISE_TOLERANCE = 0.3
"""Accuracy to which that logarithm is determined."""

IMPOSSIBLE = 1e12
"""Negative log likelihood of a noise for which the covariances are not positive definite."""


@dataclass(frozen=True)
class Observed:
    """Observed values and gradients of some structures, with all that covariances depend on.

    Attributes:
        inputs: standardised coordinates.
        jacobians: derivatives of the standardised coordinates by the positions.
        outputs: standardised values.
        gradients: derivatives of the standardised values by the positions.
    """

    inputs: Float[np.ndarray, "n d"]
    jacobians: Float[np.ndarray, "n d x"]
    outputs: Float[np.ndarray, " n"]
    gradients: Float[np.ndarray, "n x"]

    @property
    def observations(self) -> Float[np.ndarray, " m"]:
        """All values, then the gradients of one structure after the other."""
        return np.concatenate([self.outputs, self.gradients.ravel()])

    def subset(self, count: int) -> "Observed":
        """Select evenly spread structures.

        Args:
            count: largest number of structures.

        Returns:
            The observations of these structures.
        """
        n = len(self.inputs)
        rows = np.linspace(0, n - 1, min(n, count)).astype(int)
        return Observed(
            self.inputs[rows], self.jacobians[rows], self.outputs[rows], self.gradients[rows]
        )


class Covariances:
    """Covariances of all observations as a function of the hyperparameters of the kernel.

    Args:
        observed: values and gradients.
    """

    def __init__(self, observed: Observed) -> None:
        from scipy.spatial.distance import cdist

        # Everything that does not depend on the hyperparameters is computed once.
        inputs, (n, _, x) = observed.inputs, observed.jacobians.shape
        flat = observed.jacobians.transpose(0, 2, 1).reshape(n * x, -1)
        self._unknowns = x
        self._squares = cdist(inputs, inputs, "sqeuclidean")
        self._products = inputs @ inputs.T
        self._along = inputs @ flat.T  # u_i J_j
        own = np.einsum("nd,ndx->nx", inputs, observed.jacobians).ravel()
        self._between = self._along - own  # (u_i - u_j) J_j
        self._both = flat @ flat.T  # J_i^T J_j

    def __call__(
        self, kernel: Float[np.ndarray, " 4"], gradient_noise: float
    ) -> Float[np.ndarray, "m m"]:
        """Compute the covariance matrix of all observations with their noise.

        Args:
            kernel: hyperparameters as in
                :class:`~jaxrecon.models.surrogates.gaussian_process.GaussianProcess`.
            gradient_noise: variance of the noise of the gradients.

        Returns:
            The matrix in the order of :attr:`Observed.observations`.
        """
        amplitude, length, linear, noise = kernel
        n, x, between = len(self._squares), self._unknowns, self._between
        near = amplitude * np.exp(-self._squares / (2.0 * length**2))
        matrix = np.empty((n + n * x, n + n * x))
        # Values with values, and values with gradients.
        matrix[:n, :n] = near + linear * (self._products + 1.0) + noise * np.eye(n)
        matrix[:n, n:] = np.repeat(near, x, 1) * between / length**2 + linear * self._along
        matrix[n:, :n] = matrix[:n, n:].T
        # Gradients with gradients, one structure after the other: all at once would take several
        # temporary matrices of the full size.
        for number in range(n):
            own = slice(number * x, (number + 1) * x)
            curvature = np.repeat(between[:, own].T, x, 1) * between[number] / -(length**2)
            weight = np.repeat(near[number], x) / length**2
            both = self._both[own]
            matrix[n:][own, n:] = weight * (both - curvature) + linear * both
        matrix[np.arange(n, len(matrix)), np.arange(n, len(matrix))] += gradient_noise
        return matrix


def gradient_noise(observed: Observed, kernel: Float[np.ndarray, " 4"]) -> float:
    """Find the noise of the gradients that maximises the likelihood of some of the observations.

    Args:
        observed: values and gradients, of which evenly spread structures are used.
        kernel: hyperparameters, which stay fixed.

    Returns:
        The variance of the noise, in the squared unit of the gradients.
    """
    from scipy.linalg import LinAlgError, cholesky, solve_triangular
    from scipy.optimize import minimize_scalar

    few = observed.subset(NOISE_STRUCTURES)
    covariances, observations = Covariances(few), few.observations
    scale = float(np.mean(few.gradients**2))

    def negative_log_likelihood(logarithm: float) -> float:
        try:
            lower = cholesky(covariances(kernel, scale * np.exp(logarithm)), lower=True)
        except LinAlgError:
            return IMPOSSIBLE
        white = solve_triangular(lower, observations, lower=True)
        return float(0.5 * white @ white + np.log(np.diagonal(lower)).sum())

    found = minimize_scalar(
        negative_log_likelihood,
        bounds=LOG_NOISE,
        method="bounded",
        options={"xatol": NOISE_TOLERANCE},
    )
    return scale * float(np.exp(found.x))


def posterior(
    observed: Observed, kernel: Float[np.ndarray, " 4"], gradient_noise: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Condition the process on all observations.

    The errors left out are those of predicting a value from the observations of all other
    structures (Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, equation
    5.12, for blocks).

    Args:
        observed: values and gradients.
        kernel: hyperparameters.
        gradient_noise: variance of the noise of the gradients.

    Returns:
        Weights of the values, weights of the gradients along the coordinates, and errors left out.
    """
    from scipy.linalg import cho_solve, cholesky
    from scipy.linalg.lapack import dtrtri

    n, x = observed.gradients.shape
    # LAPACK wants columns: the transpose of the symmetric matrix spares a copy of it.
    matrix = Covariances(observed)(kernel, gradient_noise).T
    lower = cholesky(matrix, lower=True, overwrite_a=True)
    weights = cho_solve((lower, True), observed.observations)
    inverse, _ = dtrtri(lower, lower=1, overwrite_c=1)
    # The errors left out need only one diagonal block of the inverse matrix per structure.
    left_out, rows = np.empty(n), np.arange(len(weights))
    for number in range(n):
        block = np.r_[number, n + number * x : n + (number + 1) * x]
        columns = np.where(rows[:, None] >= block, inverse[:, block], 0.0)
        left_out[number] = np.linalg.solve(columns.T @ columns, weights[block])[0]
    along = np.einsum("ndx,nx->nd", observed.jacobians, weights[n:].reshape(n, x))
    return weights[:n], along, left_out
