r"""Rigidity: how firmly a training set holds a prediction.

A model with weights w was fitted to structures A by minimising
:math:`\sum_A (y_A - G_A \cdot w)^2 + \mu\, w^\mathsf{T} R\, w`, where :math:`G_A` is the mean over
the atoms of the derivatives :math:`g_k` of their predictions by the weights. To move the prediction
of atom k by :math:`\delta`, the least increase of this loss is :math:`\delta^2` times its local
prediction rigidity

.. math:: LPR_k = \frac{1}{g_k^\mathsf{T} H^{-1} g_k}, \quad
    H = \sum_A G_A G_A^\mathsf{T} + \mu R

Sources: Chong et al., J. Chem. Theory Comput. 19, 8020 (2023), arXiv 2306.15638; of components,
Chong et al., arXiv 2408.15063; of the last layer of a network, Bigi et al., Mach. Learn.: Sci.
Technol. 5, 045018 (2024), arXiv 2403.02251.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.numerics import product
from jaxrecon.pytrees import register_dataclass

BLOCK = 1024
"""Number of atoms for which triangular systems are solved together."""

Rows = Float[np.ndarray, "_ _"]
"""The features of the atoms of one structure."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class Rigidity:
    r"""The matrix H of a fitted model, ready for the rigidity of any prediction.

    It is a pytree and a pure function: a search can be guided by it.

    Attributes:
        root: matrix B with :math:`H^{-1} = B^\mathsf{T} B`: the inverse of the Cholesky factor of
            H, or that of a pseudoinverse where H is singular.
        scale: what features are multiplied by.
    """

    root: Float[np.ndarray | Array, "r m"]
    scale: Float[np.ndarray | Array, ""]

    @classmethod
    def of(
        cls,
        means: Float[np.ndarray, "s m"],
        regularizer: float | Float[np.ndarray, "m m"],
        scale: float = 1.0,
    ) -> "Rigidity":
        r"""Factorise the matrix of a training set.

        Args:
            means: mean of the features over the atoms of each training structure.
            regularizer: :math:`\mu`, or the matrix :math:`\mu R`.
            scale: what features are multiplied by.

        Returns:
            The factorised matrix.
        """
        scaled = np.asarray(means, np.float64) * scale
        return cls.of_covariance(scaled.T @ scaled, regularizer, scale)

    @classmethod
    def of_covariance(
        cls,
        covariance: Float[np.ndarray, "m m"],
        regularizer: float | Float[np.ndarray, "m m"],
        scale: float = 1.0,
    ) -> "Rigidity":
        r"""Factorise H, given the sum of :math:`G_A G_A^\mathsf{T}`, as for :meth:`of`."""
        from scipy.linalg import solve_triangular

        size = len(covariance)
        prior = regularizer * np.eye(size) if np.ndim(regularizer) == 0 else regularizer
        matrix = np.asarray(covariance + prior, np.float64)
        limit = size * np.finfo(float).eps
        try:
            lower = np.linalg.cholesky(matrix)
            pivots = np.diagonal(lower) ** 2
            doubtful = pivots.min() <= 100.0 * limit * pivots.max()
        except np.linalg.LinAlgError:
            doubtful = True
        if doubtful:
            # Perhaps singular; round-off decides whether the factorisation fails then. Directions
            # that nothing holds are left out, as in a pseudoinverse.
            values, vectors = np.linalg.eigh(matrix)
            held = values > limit * values[-1]
            root = (vectors[:, held] / np.sqrt(values[held])).T
        else:
            root = solve_triangular(lower, np.eye(size), lower=True)
        return cls(root, np.asarray(scale))

    def __call__(self, features: Float[Array, "n m"]) -> Float[Array, " n"]:
        """Compute the rigidity of predictions; infinite where all features are 0.

        Args:
            features: the derivatives g of the predictions by the weights.

        Returns:
            The rigidities in one over the squared unit of the property.
        """
        variance = self.variance(features)
        return jnp.where(variance > 0, 1.0 / jnp.where(variance > 0, variance, 1.0), jnp.inf)

    def variance(self, features: Float[Array, "n m"]) -> Float[Array, " n"]:
        r"""Compute one over the rigidity, :math:`g^\mathsf{T} H^{-1} g`.

        Args:
            features: as for the call.

        Returns:
            The variances, whose derivatives are finite everywhere.
        """
        dtype = features.dtype
        root, scale = jnp.asarray(self.root, dtype), jnp.asarray(self.scale, dtype)
        return jnp.sum(product(features * scale, root.T) ** 2, axis=1)


class PredictionRigidity:
    """Local and component-wise prediction rigidities of linear models, fitted to structures.

    Features are scaled by one number, so that the mean squared length of the training rows is 1.

    Args:
        alpha: regulariser of the model, for predictions that are means over the atoms.
        components: numbers of features that belong to each component, in order; None for one.

    Attributes:
        rigidity: the factorised matrix.
        rank_difference: dimension of the matrix minus its rank.

    Raises:
        ValueError: if alpha is negative or not finite.

    >>> rng = np.random.default_rng(0)
    >>> structures = [rng.normal(size=(4, 3)) for _ in range(5)]
    >>> found = PredictionRigidity(alpha=1e-3).fit(structures).predict(structures[:2])
    >>> [values.shape for values in found]
    [(4,), (4,)]
    """

    rigidity: Rigidity
    rank_difference: int

    def __init__(self, alpha: float, components: Sequence[int] | None = None) -> None:
        if not 0.0 <= alpha < np.inf:
            raise ValueError(f"expected a finite alpha >= 0, got {alpha}")
        self.alpha = alpha
        self.components = None if components is None else [int(count) for count in components]

    def fit(self, structures: Sequence[Rows]) -> "PredictionRigidity":
        """Factorise the matrix of a training set.

        Args:
            structures: features of the atoms of each training structure.

        Returns:
            This object.

        Raises:
            ValueError: if there is no structure, or one without atoms; numbers of features differ,
                or those of the components do not add up to it; features are not finite or all zero.
        """
        sizes = _checked(structures, None)
        if self.components is not None and (
            sum(self.components) != sizes or min(self.components) < 1
        ):
            raise ValueError(
                f"expected components with {sizes} features in all, at least one each, got "
                f"{self.components}"
            )
        squares = sum(float(np.sum(np.square(rows))) for rows in structures)
        if not squares > 0.0:
            raise ValueError("expected features that are not all zero, got zeros")
        scale = float(np.sqrt(sum(map(len, structures)) / squares))
        means = np.stack([rows.mean(axis=0) for rows in structures])
        self.rigidity = Rigidity.of(means, self.alpha, scale)
        self.rank_difference = sizes - len(self.rigidity.root)
        return self

    def predict(self, structures: Sequence[Rows]) -> list[Float[np.ndarray, " _"]]:
        """Compute the local prediction rigidity of every atom.

        Args:
            structures: features of the atoms of each structure.

        Returns:
            The rigidities, an array for each structure.

        Raises:
            ValueError: if the number of features is another one than in the training set, a
                structure has no atoms, or features are not finite.
        """
        _checked(structures, self._size)
        return _split(_evaluated(self.rigidity, np.concatenate(structures)), structures)

    def predict_components(
        self, structures: Sequence[Rows]
    ) -> tuple[Float[np.ndarray, "s c"], list[Float[np.ndarray, "_ c"]]]:
        """Compute the rigidity of the components of predictions.

        Args:
            structures: as for :meth:`predict`.

        Returns:
            For each component, the rigidity of the mean over the atoms of each structure; and of
            each atom, an array for each structure.

        Raises:
            ValueError: as :meth:`predict`.
        """
        _checked(structures, self._size)
        ends = np.cumsum([0, *(self.components or [self._size])])
        rows = np.concatenate(structures)
        means = np.stack([part.mean(axis=0) for part in structures])
        whole, local = [], []
        for first, last in pairwise(ends):
            own = (np.arange(self._size) >= first) & (np.arange(self._size) < last)
            whole.append(_evaluated(self.rigidity, np.where(own, means, 0.0)))
            local.append(_evaluated(self.rigidity, np.where(own, rows, 0.0)))
        return np.stack(whole, axis=1), _split(np.stack(local, axis=1), structures)

    @property
    def _size(self) -> int:
        """The number of features."""
        if not hasattr(self, "rigidity"):
            raise ValueError("expected a training set first, got none: call fit")
        return self.rigidity.root.shape[1]


def local_prediction_rigidity(
    X_train: Sequence[Rows], X_test: Sequence[Rows], alpha: float
) -> tuple[list[Float[np.ndarray, " _"]], int]:
    """Compute local prediction rigidities, with the arguments and results of scikit-matter.

    Args:
        X_train: features of the atoms of each training structure.
        X_test: features of the atoms of each other structure.
        alpha: regulariser of the model, for predictions that are means over the atoms.

    Returns:
        The rigidity of each atom of each other structure; and the dimension of the matrix minus its
        rank.

    Raises:
        ValueError: as :class:`PredictionRigidity`.
    """
    fitted = PredictionRigidity(alpha).fit(X_train)
    return fitted.predict(X_test), fitted.rank_difference


def componentwise_prediction_rigidity(
    X_train: Sequence[Rows],
    X_test: Sequence[Rows],
    alpha: float,
    comp_dims: Sequence[int] | Int[np.ndarray, " c"],
) -> tuple[Float[np.ndarray, "s c"], list[Float[np.ndarray, "_ c"]], int]:
    """Compute rigidities of components, with the arguments and results of scikit-matter.

    Args:
        X_train: features of the atoms of each training structure.
        X_test: features of the atoms of each other structure.
        alpha: regulariser of the model, for predictions that are means over the atoms.
        comp_dims: number of features of each component, in order.

    Returns:
        The rigidities of each structure, those of each atom, and the dimension of the matrix minus
        its rank.

    Raises:
        ValueError: as :class:`PredictionRigidity`.
    """
    fitted = PredictionRigidity(alpha, [int(count) for count in comp_dims]).fit(X_train)
    whole, local = fitted.predict_components(X_test)
    return whole, local, fitted.rank_difference


def _checked(structures: Sequence[Rows], size: int | None) -> int:
    """The number of features of all structures, or a ValueError."""
    if not len(structures):
        raise ValueError("expected at least one structure, got none")
    sizes = sorted({np.shape(rows)[-1] if np.ndim(rows) == 2 else -1 for rows in structures})
    if len(sizes) > 1 or sizes[0] < 1 or size not in (None, sizes[0]):
        raise ValueError(
            f"expected structures of shape (atoms, {size or 'features'}), got {sizes} features"
        )
    for number, rows in enumerate(structures):
        if not len(rows):
            raise ValueError(f"expected at least one atom in structure {number}, got none")
        if not np.isfinite(rows).all():
            raise ValueError(f"expected finite features of structure {number}, got others")
    return sizes[0]


def _split(values: np.ndarray, structures: Sequence[Rows]) -> list[np.ndarray]:
    """Values of all atoms, structure by structure."""
    return np.split(values, np.cumsum([len(rows) for rows in structures])[:-1])


def _evaluated(rigidity: Rigidity, rows: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " n"]:
    """The rigidity of many predictions in float64, block by block."""
    with jax.enable_x64(True):
        blocks = [
            np.asarray(_block(rigidity, np.asarray(rows[start : start + BLOCK], np.float64)))
            for start in range(0, len(rows), BLOCK)
        ]
    return np.concatenate(blocks)


@jax.jit
def _block(rigidity: Rigidity, rows: Float[Array, "n m"]) -> Float[Array, " n"]:
    """The rigidity of a block of predictions."""
    return rigidity(rows)
