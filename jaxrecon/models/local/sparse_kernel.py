r"""SparseKernel: Gaussian process regression of local energies with few representative points.

.. math:: \epsilon(x) = \sum_m c_m\, k(x, x_m), \quad
    k(x, x') = \delta^2\, (\hat x \cdot \hat x')^\zeta\, \delta_{z z'}, \quad
    c = [K_{MM} + K_{MN} \Sigma^{-2} K_{NM}]^{-1} K_{MN} \Sigma^{-2} y

with M representative points among the N environments, z the element of the atom, and
:math:`\delta` the standard deviation of the energies. With the Cholesky factor
:math:`K_{MM} = L L^\mathsf{T}` the features :math:`L^{-1} k(x)` have independent weights
(:mod:`~jaxrecon.models.local.system`). Sources: Bartók and Csányi, Int. J. Quantum Chem. 115, 1051
(2015); Gardner et al., Digital Discovery 2, 651 (2023).
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from jaxrecon.datasets.sampling import furthest_points
from jaxrecon.descriptors.soap.kernels import environment_kernel, sparse_points
from jaxrecon.models.local.base import LocalModel, known_offsets, offsets_of
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.system import solve, without_unused
from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass
from jaxrecon.runtime.progress import ProgressFn

JITTER = 1e-10
"""What is added to the kernel of a point with itself, relative to it: equal points are allowed."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class KernelFeatures:
    """Whitened kernels with the representative points.

    Attributes:
        points: rows of the points.
        kinds: index of the element of each point.
        amplitude: standard deviation of the energies in eV.
        lower: Cholesky factor L of the kernel of the points; None for kernels that are not
            whitened.
        zeta: exponent of the kernel.
    """

    points: Float[np.ndarray | Array, "m f"]
    kinds: Int[np.ndarray | Array, " m"]
    amplitude: Float[np.ndarray | Array, ""]
    lower: Float[np.ndarray | Array, "m m"] | None
    zeta: int = field(metadata={"static": True})

    def kernel(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "n m"]:
        """Compute the covariances with the points in eV^2."""
        points = jnp.asarray(self.points, rows.dtype)
        similar = environment_kernel(rows, points, self.zeta)
        same = kinds[:, None] == jnp.asarray(self.kinds, kinds.dtype)[None, :]
        return jnp.where(same, jnp.asarray(self.amplitude, rows.dtype) ** 2 * similar, 0.0)

    def whitened(self) -> "KernelFeatures":
        """The features whose weights are independent in the process."""
        with jax.enable_x64(True):
            own = np.array(self.kernel(jnp.asarray(self.points), jnp.asarray(self.kinds)))
            own[np.diag_indices_from(own)] *= 1.0 + JITTER
            return replace(self, lower=jnp.linalg.cholesky(own))

    def __call__(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "n m"]:
        """Compute the features of rows in eV."""
        kernel = self.kernel(rows, kinds)
        if self.lower is None:
            return kernel
        return solve_triangular(jnp.asarray(self.lower, rows.dtype), kernel.T, lower=True).T


@register_dataclass
@dataclass(frozen=True, eq=False)
class SparseKernel(LocalModel):
    """A Gaussian process of local energies with representative points.

    Coefficients of near points are large and of both signs: in float32 their sum has errors of 0.04
    eV with a thousand points and the default noise, of 0.4 eV with a tenth of it. Float32 rows are
    good enough, but the sum over points needs float64.

    Attributes:
        features: kernels with the points, not whitened.
        weights: the coefficients c in 1/eV.
    """

    precise: ClassVar[bool] = True
    features: KernelFeatures
    weights: Float[np.ndarray | Array, " m"]

    @classmethod
    def fit(
        cls,
        environments: Environments,
        config: LocalConfig | None = None,
        *,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "SparseKernel":
        """Choose the points and solve for their coefficients.

        Args:
            environments: local energies, totals and forces, as the settings choose.
            config: settings, of which points, selection, zeta, targets, noise and seed are used.
            report: called once.

        Returns:
            The fitted model.

        Raises:
            ValueError: if what the settings name is not known.
            ImportError: if the points are to be chosen by scikit-matter, which is not installed.
        """
        config = config or LocalConfig()
        environments = without_unused(environments, config)
        chosen = chosen_points(environments, config)
        bare = KernelFeatures(
            environments.rows[chosen].astype(np.float64),
            environments.kinds[chosen].astype(np.int32),
            np.asarray(amplitude_of(environments, offsets_of(environments))),
            None,
            config.zeta,
        )
        white = bare.whitened()
        assert white.lower is not None, "whitened kernels have the factor"
        weights = solve(white, len(chosen), environments, config)
        with jax.enable_x64(True):
            coefficients = np.asarray(solve_triangular(white.lower, weights, lower=True, trans=1))
        report(1, len(environments))
        return cls(environments.descriptor, known_offsets(environments), bare, coefficients)

    def last_features(self) -> KernelFeatures:
        """The whitened kernels; see the base class."""
        return self.features.whitened()

    def deviations(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, " n"]:
        """Compute the energies of atoms without the mean of their element; see the base class."""
        return product(self.features.kernel(rows, kinds), jnp.asarray(self.weights, rows.dtype))


def chosen_points(environments: Environments, config: LocalConfig) -> Int[np.ndarray, " m"]:
    """Choose representative points, as many of each element as it has of the environments.

    Args:
        environments: all environments.
        config: settings, of which points, selection and seed are used.

    Returns:
        Indices of about ``config.points`` environments, ascending; at least one of each element.
    """
    generator = np.random.default_rng(config.seed)
    chosen = []
    for kind in np.unique(environments.kinds):
        own = np.flatnonzero(environments.kinds == kind)
        part = min(len(own), max(1, round(config.points * len(own) / len(environments))))
        if part == len(own):
            chosen.append(own)
        elif config.selection == "random":
            chosen.append(generator.choice(own, part, replace=False))
        else:
            rows = environments.rows[own]
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
            if config.selection == "furthest":
                chosen.append(own[furthest_points(rows, part)])
            else:
                chosen.append(own[sparse_points(rows, part, "cur")])
    return np.sort(np.concatenate(chosen))


def amplitude_of(environments: Environments, offsets: Float[np.ndarray, " e"]) -> float:
    """Compute the standard deviation of the energies of atoms in eV.

    Args:
        environments: local energies, or totals.
        offsets: mean energies of the elements in eV.

    Returns:
        That of the local energies, or else that of the totals per atom.

    Raises:
        ValueError: if all energies are equal.
    """
    if environments.energies is not None:
        found = (environments.energies - offsets[environments.kinds]).std()
    else:
        assert environments.totals is not None, "there are offsets"
        rest = environments.totals - environments.counts @ offsets
        found = (rest / environments.counts.sum(axis=1)).std()
    if not found > 0.0:
        raise ValueError("expected energies that differ, got equal ones")
    return float(found)
