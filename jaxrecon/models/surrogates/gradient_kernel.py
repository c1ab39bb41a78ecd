r"""Gradients as observations of a Gaussian process: what forces tell of a property's surface.

In coordinates u of the fingerprint, with :math:`J_i = \partial u_i / \partial x` by the positions
of structure i, an observed gradient is :math:`g_i = J_i^T \nabla f(u_i)`, so that

.. math:: \mathrm{cov}(f(u), g_j) = \partial_v k(u, v) J_j, \qquad
          \mathrm{cov}(g_i, g_j) = J_i^T \partial_u \partial_v k(u, v) J_j

at :math:`v = u_j` and :math:`u = u_i`. Source: Solak et al., NeurIPS 2002; of forces in descriptors
of atoms Bartok and Csanyi, Int. J. Quantum Chem. 115, 1051 (2015).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float

from jaxrecon.descriptors.featurize import batch
from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.structures.structure import Structure

TOGETHER = 32
"""Structures whose jacobians are computed at once."""

SOME = 50
"""Structures whose gradients decide how noisy those are."""

LOGARITHMS = (-12.0, 2.0)
"""Of that noise, in units of the mean square of the gradients."""


def fingerprint_jacobians(
    structures: Sequence[Atoms], fingerprint: Fingerprint
) -> Float[np.ndarray, "n p x"]:
    """Derivatives of the fingerprint of each structure by its positions, in 1/Angstrom.

    Args:
        structures: of one number of atoms.
        fingerprint: R.

    Returns:
        The unknowns are x, y and z of the first atom, those of the second one and so on.
    """
    found = _jacobians(batch(structures, fingerprint), fingerprint)
    return np.asarray(found, np.float64).reshape(len(structures), fingerprint.size, -1)


@partial(jax.jit, static_argnames="fingerprint")
def _jacobians(structures: Structure, fingerprint: Fingerprint) -> Float[Array, "n p ..."]:
    return jax.lax.map(
        lambda one: fingerprint.with_jacobian(one)[1], structures, batch_size=TOGETHER
    )


@dataclass(frozen=True)
class Observed:
    """Values and gradients of some structures, and all that covariances are made of.

    Attributes:
        inputs: standardised coordinates.
        jacobians: of these by the unknowns of each structure.
        outputs: standardised values.
        gradients: by the unknowns.
    """

    inputs: Float[np.ndarray, "n d"]
    jacobians: Float[np.ndarray, "n d x"]
    outputs: Float[np.ndarray, " n"]
    gradients: Float[np.ndarray, "n x"]

    @property
    def told(self) -> Float[np.ndarray, " m"]:
        """Values, then gradients structure by structure."""
        return np.concatenate([self.outputs, self.gradients.ravel()])

    def some(self, count: int) -> "Observed":
        """Of evenly spread structures."""
        n = len(self.inputs)
        rows = np.linspace(0, n - 1, min(n, count)).astype(int)
        return Observed(
            self.inputs[rows], self.jacobians[rows], self.outputs[rows], self.gradients[rows]
        )


class Covariances:
    """Of all that is observed, for any numbers of the kernel."""

    def __init__(self, observed: Observed) -> None:
        from scipy.spatial.distance import cdist

        inputs, (n, _, x) = observed.inputs, observed.jacobians.shape
        flat = observed.jacobians.transpose(0, 2, 1).reshape(n * x, -1)
        self._unknowns = x
        self._squares = cdist(inputs, inputs, "sqeuclidean")
        self._products = inputs @ inputs.T
        self._along = inputs @ flat.T  # u_i J_j
        own = np.einsum("nd,ndx->nx", inputs, observed.jacobians).ravel()
        self._between = self._along - own  # (u_i - u_j) J_j
        self._both = flat @ flat.T

    def __call__(
        self, kernel: Float[np.ndarray, " 4"], gradient_noise: float
    ) -> Float[np.ndarray, "m m"]:
        """The matrix, noise included."""
        amplitude, length, linear, noise = kernel
        n, x, between = len(self._squares), self._unknowns, self._between
        near = amplitude * np.exp(-self._squares / (2.0 * length**2))
        matrix = np.empty((n + n * x, n + n * x))
        matrix[:n, :n] = near + linear * (self._products + 1.0) + noise * np.eye(n)
        matrix[:n, n:] = np.repeat(near, x, 1) * between / length**2 + linear * self._along
        matrix[n:, :n] = matrix[:n, n:].T
        # One structure after the other: all at once takes several matrices of the largest size.
        for number in range(n):
            own = slice(number * x, (number + 1) * x)
            bent = np.repeat(between[:, own].T, x, 1) * between[number] / -(length**2)
            steep = np.repeat(near[number], x) / length**2
            both = self._both[own]
            matrix[n:][own, n:] = steep * (both - bent) + linear * both
        matrix[np.arange(n, len(matrix)), np.arange(n, len(matrix))] += gradient_noise
        return matrix


def gradient_noise(observed: Observed, kernel: Float[np.ndarray, " 4"]) -> float:
    """The variance of the noise of gradients that makes some of what is observed most likely."""
    from scipy.linalg import LinAlgError, cholesky, solve_triangular
    from scipy.optimize import minimize_scalar

    few = observed.some(SOME)
    covariances, told = Covariances(few), few.told
    scale = float(np.mean(few.gradients**2))

    def unlikely(logarithm: float) -> float:
        try:
            lower = cholesky(covariances(kernel, scale * np.exp(logarithm)), lower=True)
        except LinAlgError:
            return 1e12
        white = solve_triangular(lower, told, lower=True)
        return float(0.5 * white @ white + np.log(np.diagonal(lower)).sum())

    found = minimize_scalar(unlikely, bounds=LOGARITHMS, method="bounded", options={"xatol": 0.3})
    return scale * float(np.exp(found.x))


def posterior(
    observed: Observed, kernel: Float[np.ndarray, " 4"], gradient_noise: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Weights of the values, those of the gradients along the inputs, and errors left out.

    The last are what each value is off a prediction from all other structures (Rasmussen and
    Williams, *Gaussian Processes for Machine Learning*, 2006, equation 5.12, for blocks).
    """
    from scipy.linalg import cho_solve, cholesky
    from scipy.linalg.lapack import dtrtri

    n, x = observed.gradients.shape
    # Transposed, as LAPACK wants it, or there is a copy of the largest matrix.
    matrix = Covariances(observed)(kernel, gradient_noise).T
    lower = cholesky(matrix, lower=True, overwrite_a=True)
    weights = cho_solve((lower, True), observed.told)
    inverse, _ = dtrtri(lower, lower=1, overwrite_c=1)
    left_out, rows = np.empty(n), np.arange(len(weights))
    for number in range(n):
        # Of the inverse of the matrix only what belongs to this structure.
        block = np.r_[number, n + number * x : n + (number + 1) * x]
        columns = np.where(rows[:, None] >= block, inverse[:, block], 0.0)
        left_out[number] = np.linalg.solve(columns.T @ columns, weights[block])[0]
    along = np.einsum("ndx,nx->nd", observed.jacobians, weights[n:].reshape(n, x))
    return weights[:n], along, left_out
