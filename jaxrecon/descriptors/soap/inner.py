r"""The power spectrum of the mean density, DScribe's ``average="inner"``.

.. math:: p^{ab}_l = f_l \sum_m \bar c^a_{lm} \bar c^b_{lm}, \qquad
    \bar c^a_{lm} = \frac1n \sum_i c^{a}_{i,lm}

The densities around all n atoms are laid over each other in the axes of the structure, and their
mean is expanded: it is one number of each kind for a structure, and not the mean of numbers of its
atoms.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import nn
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.derivatives import ByPositions
from jaxrecon.descriptors.soap import rows
from jaxrecon.descriptors.soap.expansion import coefficients, coefficients_with_jacobian
from jaxrecon.descriptors.soap.soap import SOAP
from jaxrecon.numerics import einsum
from jaxrecon.structures.neighbors import Neighbors, with_centers


@dataclass(frozen=True)
class InnerSOAP(SOAP):
    """The power spectrum of the mean density of a structure, as the row of each of its atoms.

    All atoms have the same row, so the pooling ``mean`` gives it. Settings are those of
    :class:`~jaxrecon.SOAP`.

    Raises:
        ValueError: if a setting is out of range.

    >>> from ase.build import molecule
    >>> from jaxrecon import Fingerprint, featurize
    >>> inner = InnerSOAP(("H", "O"), r_cut=4.0, n_max=2, l_max=1)
    >>> rows = featurize(molecule("H2O"), Fingerprint(inner, ("max", "min")))[0].reshape(2, -1)
    >>> bool((rows[0] == rows[1]).all())
    True
    """

    family: ClassVar[str] = "soap_inner"

    @partial(jax.jit, static_argnums=0)
    def __call__(
        self, neighbors: Neighbors, elements: Int[Array, " e"] | None = None
    ) -> Float[Array, "n f"]:
        """Compute the row, once for each atom, as for any descriptor."""
        expand = partial(coefficients, self.density)
        parts = self._over_atoms(expand, neighbors, elements)
        row = self._spectrum(einsum("i,iksn->ksn", _shares(neighbors, parts.dtype), parts))
        return jnp.broadcast_to(row, (len(parts), *row.shape))

    @partial(jax.jit, static_argnums=0)
    def with_jacobian(
        self, neighbors: Neighbors, elements: Int[Array, " e"] | None = None
    ) -> tuple[Float[Array, "n f"], Float[Array, "n f m 3"]]:
        """Compute the row and its derivatives by the vectors to the neighbours of each atom.

        Args:
            neighbors: the environments of the atoms.
            elements: as for :meth:`__call__`.

        Returns:
            The row, once for each atom; and the derivatives in 1/Angstrom, those by the vectors
            from atom i in row i. The row changes with the vectors from the other atoms as well.
        """

        def row(vectors: Float[Array, "n m 3"]) -> Float[Array, " f"]:
            values: Array = self(neighbors._replace(vectors=vectors), elements)
            return values[0]

        jacobian = jax.jacrev(row)(neighbors.vectors)
        return self(neighbors, elements), jnp.swapaxes(jacobian, 0, 1)

    @partial(jax.jit, static_argnums=0, static_argnames="strain")
    def with_derivatives(
        self, neighbors: Neighbors, elements: Int[Array, " e"], *, strain: bool = False
    ) -> tuple[Float[Array, "n f"], ByPositions]:
        """The row and its derivatives by the positions, as for any descriptor.

        The derivatives of the mean coefficients turn into those of their products at the end.
        """
        found, n = with_centers(neighbors), len(neighbors.vectors)
        source = neighbors.source
        if source is None:
            source = jnp.broadcast_to(jnp.arange(n)[None], (n, n))
        # The central atom is a neighbour that does not move.
        source = jnp.concatenate([source, jnp.full((n, 1), -1)], axis=1)
        shares = _shares(neighbors, found.vectors.dtype)

        def of_atom(atom: tuple[Array, ...]) -> tuple[Array, Array]:
            vectors, species, mask, source, center, share = atom
            channel = self.channels(species, mask, elements, vectors.dtype)
            expanded, contributions = coefficients_with_jacobian(self.density, vectors, channel)
            present = jnp.where(mask[:, None], vectors, 0.0)
            images = nn.one_hot(source, n, dtype=vectors.dtype)
            start = nn.one_hot(center, n, dtype=vectors.dtype)

            def of_radial(one: tuple[Array, Array]) -> Float[Array, "k s a 3"]:
                turned = contributions.of_radial(*one)
                ends = einsum("js,ja,kjx->ksax", channel, images, turned)
                # The vectors to all neighbours start at the central atom.
                whole = ends.sum(axis=2, keepdims=True)
                moved = ends - start[None, None, :, None] * whole
                if not strain:
                    return moved
                sheared = einsum("js,jx,kjy->ksxy", channel, present, turned)
                symmetric = (sheared + jnp.swapaxes(sheared, 2, 3)) / 2.0
                return jnp.concatenate([moved, symmetric], axis=2)

            by_radial = (contributions.along, contributions.radial)
            moved = jax.lax.map(of_radial, tuple(jnp.swapaxes(each, 0, 1) for each in by_radial))
            return share * expanded, share * jnp.moveaxis(moved, 0, 2)

        # Only the sums over all atoms are held in memory.
        atoms = (found.vectors, found.species, found.mask, source, jnp.arange(n), shares)
        shapes = jax.eval_shape(of_atom, jax.tree.map(lambda leaf: leaf[0], atoms))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def add(
            total: tuple[Array, Array], atom: tuple[Array, ...]
        ) -> tuple[tuple[Array, Array], None]:
            return jax.tree.map(jnp.add, total, of_atom(atom)), None

        (expanded, moved), _ = jax.lax.scan(add, zeros, atoms)
        row, forward = jax.linearize(self._spectrum, expanded)
        columns = moved.reshape(*expanded.shape, -1)
        jacobian = jax.vmap(forward, in_axes=-1, out_axes=-1)(columns)
        jacobian = jacobian.reshape(len(row), -1, 3)
        whole = (row, jacobian)
        values, derivatives = (jnp.broadcast_to(each, (n, *each.shape)) for each in whole)
        return values, ByPositions(derivatives)

    def _spectrum(self, expanded: Float[Array, "k s n"]) -> Float[Array, " f"]:
        """The power spectrum of coefficients."""
        return rows.of_coefficients(self._recipe, expanded)


def _shares(neighbors: Neighbors, dtype: jnp.dtype) -> Float[Array, " n"]:
    """The weight of each atom in the mean; 0 for padding."""
    if neighbors.center is None:
        raise ValueError("expected neighbors with the atomic numbers of their centers, got None")
    present = (neighbors.center > 0).astype(dtype)
    return present / jnp.maximum(present.sum(), 1.0)
