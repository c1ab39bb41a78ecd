r"""A sparse kernel whose predictions and variances are exact enough in float32.

The kernel of two environments is

.. math:: k(x, x') = \delta^2\, (\hat u \cdot \hat u')^\zeta\, \delta_{z z'}, \quad
    u = (s \odot x, c)

where s makes all numbers of a row count alike, and c, the typical length of :math:`s \odot x`, is
there because a row without neighbours is zero and has no direction. Of the representative points'
kernel :math:`K_{MM} = U \Lambda U^\mathsf{T}` only eigenvalues above a millionth of the largest one
are kept: the features :math:`\phi(x) = \Lambda^{-1/2} U^\mathsf{T} k(x)` are then good to
:math:`10^{-4}` in float32, in which a search is guided, and the rest carries less than a
thousandth of the amplitude.
"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.soap.kernels import environment_kernel
from jaxrecon.models.local.base import known_offsets, offsets_of
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.models.local.linear import LinearModel
from jaxrecon.models.local.sparse_kernel import amplitude_of, chosen_points
from jaxrecon.models.local.system import solve, without_unused
from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass

SMALLEST = 1e-6
"""Smallest eigenvalue of the points' kernel that is kept, relative to the largest one."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class ProjectedKernel:
    r"""Kernels with the representative points, projected on their largest components.

    Attributes:
        scale: what each number of a row is multiplied by.
        length: the number c that follows them.
        points: scaled rows of the points, with this number.
        kinds: index of the element of each point.
        amplitude: standard deviation of the energies in eV.
        projection: the matrix :math:`\Lambda^{-1/2} U^\mathsf{T}` in 1/eV.
        zeta: exponent of the kernel.
    """

    scale: Float[np.ndarray | Array, " f"]
    length: Float[np.ndarray | Array, ""]
    points: Float[np.ndarray | Array, "m g"]
    kinds: Int[np.ndarray | Array, " m"]
    amplitude: Float[np.ndarray | Array, ""]
    projection: Float[np.ndarray | Array, "r m"]
    zeta: int = field(metadata={"static": True})

    def scaled(self, rows: Float[Array, "n f"]) -> Float[Array, "n g"]:
        """Scale rows, and add the number that all environments share."""
        scale, length = (jnp.asarray(part, rows.dtype) for part in (self.scale, self.length))
        return jnp.concatenate(
            [rows * scale[None], jnp.broadcast_to(length, (len(rows), 1))], axis=1
        )

    def kernel(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "n m"]:
        """Compute the covariances with the points in eV^2."""
        points = jnp.asarray(self.points, rows.dtype)
        similar = environment_kernel(self.scaled(rows), points, self.zeta)
        same = kinds[:, None] == jnp.asarray(self.kinds, kinds.dtype)[None, :]
        return jnp.where(same, jnp.asarray(self.amplitude, rows.dtype) ** 2 * similar, 0.0)

    def __call__(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, "n r"]:
        """Compute the features of rows in eV."""
        return product(self.kernel(rows, kinds), jnp.asarray(self.projection, rows.dtype).T)

    @classmethod
    def of(cls, environments: Environments, config: LocalConfig) -> "ProjectedKernel":
        """Choose the points, and find the components of their kernel.

        Args:
            environments: atoms with what is known of their energies.
            config: settings, of which points, selection, zeta and seed are used.

        Returns:
            The features.

        Raises:
            ValueError: if all energies are equal.
            ImportError: as :func:`~jaxrecon.models.local.sparse_kernel.chosen_points`.
        """
        rows, scale = environments.rows.astype(np.float64), environments.inverse_widths
        length = np.sqrt(np.mean(np.sum((rows * scale) ** 2, axis=1)))
        bare = cls(
            scale=scale,
            length=np.asarray(length),
            points=np.zeros((0, rows.shape[1] + 1)),
            kinds=np.zeros(0, np.int32),
            amplitude=np.asarray(amplitude_of(environments, offsets_of(environments))),
            projection=np.zeros((0, 0)),
            zeta=config.zeta,
        )
        with jax.enable_x64(True):
            whole = np.asarray(bare.scaled(jnp.asarray(rows)))
            chosen = chosen_points(replace(environments, rows=whole), config)
            bare = replace(
                bare,
                points=whole[chosen],
                kinds=environments.kinds[chosen].astype(np.int32),
                projection=np.zeros((0, len(chosen))),
            )
            own = np.asarray(bare.kernel(jnp.asarray(rows[chosen]), jnp.asarray(bare.kinds)))
        values, vectors = np.linalg.eigh(own)
        kept = values > SMALLEST * values[-1]
        return replace(bare, projection=(vectors[:, kept] / np.sqrt(values[kept])).T)


def fit_projected(environments: Environments, config: LocalConfig) -> LinearModel:
    """Fit a sparse kernel in its projected form.

    Args:
        environments: local energies, totals and forces, as the settings choose.
        config: settings, as for a sparse kernel.

    Returns:
        The model, linear in the projected features.

    Raises:
        ValueError: if what the settings name is not known.
        ImportError: if the points are to be chosen by scikit-matter, which is not installed.
    """
    environments = without_unused(environments, config)
    features = ProjectedKernel.of(environments, config)
    weights = solve(features, len(features.projection), environments, config)
    return LinearModel(environments.descriptor, known_offsets(environments), features, weights)
