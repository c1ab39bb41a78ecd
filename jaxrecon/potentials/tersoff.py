"""The potential of Tersoff for carbon, silicon and silicon carbide."""

import math
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.numerics import einsum, safe_divide, safe_norm
from jaxrecon.potentials.potential import Potential, element_indices, sum_at_sources
from jaxrecon.structures.neighbors import Neighbors

NAMES = (
    *("m", "gamma", "lambda3", "c", "d", "h", "n", "beta"),
    *("lambda2", "B", "R", "D", "lambda1", "A"),
)
"""Names of the parameters, in the order of LAMMPS and ASE: lengths in Angstrom, energies in eV."""

Entries = Mapping[tuple[str, str, str], Sequence[float]]
"""Parameters in the order of :data:`NAMES` for an atom, its neighbour and another neighbour."""

_CARBON = (3.0, 1.0, 0.0, 38049.0, 4.3484, -0.57058, 0.72751, 1.5724e-7)
_SILICON = (3.0, 1.0, 0.0, 100390.0, 16.217, -0.59825, 0.78734, 1.1e-6)

SILICON_CARBIDE: Entries = {
    ("C", "C", "C"): (*_CARBON, 2.2119, 346.7, 1.95, 0.15, 3.4879, 1393.6),
    ("C", "Si", "Si"): (*_CARBON, 1.97205, 395.126, 2.36, 0.15, 2.9839, 1597.3111),
    ("Si", "C", "C"): (*_SILICON, 1.97205, 395.126, 2.36, 0.15, 2.9839, 1597.3111),
    ("Si", "Si", "Si"): (*_SILICON, 1.73222, 471.18, 2.85, 0.15, 2.4799, 1830.8),
    # Of triples with different neighbours only the angle and the cutoff of the third atom count.
    ("C", "C", "Si"): (*_CARBON, 0.0, 0.0, 2.36, 0.15, 0.0, 0.0),
    ("C", "Si", "C"): (*_CARBON, 0.0, 0.0, 1.95, 0.15, 0.0, 0.0),
    ("Si", "C", "Si"): (*_SILICON, 0.0, 0.0, 2.85, 0.15, 0.0, 0.0),
    ("Si", "Si", "C"): (*_SILICON, 0.0, 0.0, 2.36, 0.15, 0.0, 0.0),
}
"""Published parameters for C, Si and SiC, with the rounded mixed ones of LAMMPS's ``SiC.tersoff``.

Source: Tersoff, Phys. Rev. B 39, 5566 (1989); erratum 41, 3248 (1990).
"""

LARGEST_EXPONENT = 69.0776
"""Largest argument of an exponential in the bond order, as in LAMMPS and ASE."""

BLOCK = 4096
"""Number of atoms whose bonds are computed together: it bounds the memory that triples need."""


class Tersoff(Potential):
    r"""Tersoff's potential: pairs whose attraction depends on the other bonds of the first atom.

    .. math::

        V_{ij} = f_C(r_{ij}) \left[ A e^{-\lambda_1 r_{ij}} - b_{ij} B e^{-\lambda_2 r_{ij}}
        \right], \quad b_{ij} = \left( 1 + (\beta \zeta_{ij})^n \right)^{-1/2n}

        \zeta_{ij} = \sum_{k \neq i, j} f_C(r_{ik}) g(\theta_{ijk})
        e^{\lambda_3^m (r_{ij} - r_{ik})^m}, \quad
        g = \gamma \left( 1 + \frac{c^2}{d^2} - \frac{c^2}{d^2 + (h - \cos \theta)^2} \right)

    The energy is :math:`\frac{1}{2} \sum_{i \neq j} V_{ij}`, and each half of a bond's energy
    belongs to one of its atoms, as in LAMMPS and ASE.

    Sources: Tersoff, Phys. Rev. B 37, 6991 (1988); 39, 5566 (1989), in the form of LAMMPS.

    Args:
        entries: parameters for every triple of the elements, in the order of :data:`NAMES`.

    Raises:
        ValueError: if there are no entries, a triple of elements has no parameters or not all
            finite ones, or ``m`` is neither 1 nor 3.

    >>> from ase import Atoms
    >>> from jaxrecon.potentials.single_points import single_points
    >>> [dimer] = single_points(Atoms("C2", [[0, 0, 0], [0, 0, 1.44]]), Tersoff())
    >>> dimer.energies.round(2).tolist()
    [-2.58, -2.58]
    """

    def __init__(self, entries: Entries = SILICON_CARBIDE) -> None:
        if not entries:
            raise ValueError("expected parameters for at least one element, got none")
        self.elements = tuple(dict.fromkeys(first for first, _, _ in entries))
        shape = (len(self.elements),) * 3
        table = np.zeros((len(NAMES), *shape))
        for place in np.ndindex(shape):
            i, j, k = (self.elements[index] for index in place)
            if (i, j, k) not in entries:
                raise ValueError(f"expected parameters for {i} {j} {k}, got none")
            if len(entries[i, j, k]) != len(NAMES) or not np.isfinite(entries[i, j, k]).all():
                raise ValueError(
                    f"expected {len(NAMES)} finite parameters for {i} {j} {k}, got "
                    f"{tuple(entries[i, j, k])}"
                )
            table[(slice(None), *place)] = entries[i, j, k]
        if not np.isin(table[0], (1.0, 3.0)).all():
            raise ValueError(f"expected m of 1 or 3, got {np.unique(table[0]).tolist()}")
        self.parameters = dict(zip(NAMES, table, strict=True))
        self._entries = dict(entries)
        self._restricted: dict[tuple[str, ...], Tersoff] = {}
        self.r_cut = float((self.parameters["R"] + self.parameters["D"]).max())

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> "Tersoff":
        """Read the parameters from a file in the format of LAMMPS.

        Args:
            path: name of the file, usually ending in ``.tersoff``.

        Raises:
            ValueError: if it is no such file.
            OSError: if there is none, or it can't be read.
        """
        from ase.calculators.tersoff import Tersoff as OfASE

        try:
            found = OfASE.read_lammps_format(Path(path))
        except (TypeError, UnicodeDecodeError, ValueError) as error:
            raise ValueError(f"expected Tersoff parameters as for LAMMPS, got {path}") from error
        if not found:
            raise ValueError(f"expected Tersoff parameters as for LAMMPS, got none in {path}")
        return cls({key: [getattr(one, name) for name in NAMES] for key, one in found.items()})

    def restricted(self, symbols: Iterable[str]) -> "Tersoff":
        """The potential for some of its elements: the cutoff of carbon is short.

        Args:
            symbols: elements; all others that it knows are left out.
        """
        kept = tuple(symbol for symbol in self.elements if symbol in set(symbols))
        if not kept or kept == self.elements:
            return self
        if kept not in self._restricted:
            own = {key: value for key, value in self._entries.items() if set(key) <= set(kept)}
            self._restricted[kept] = Tersoff(own)
        return self._restricted[kept]

    def edge_bytes(self, capacity: int) -> int:
        """Estimate the memory in bytes: some twenty numbers for each pair of neighbours."""
        return 160 * capacity

    def atomic_energies(
        self, parameters: Mapping[str, Array | np.ndarray], neighbors: Neighbors
    ) -> Float[Array, " n"]:
        """Compute the energy of each atom: half the energy of its bonds.

        Args:
            parameters: an array of each parameter, by the elements of a triple.
            neighbors: the environments.
        """
        assert neighbors.center is not None
        dtype = neighbors.vectors.dtype
        index = jnp.asarray(element_indices(self.elements))
        tables = {name: jnp.asarray(table, dtype) for name, table in parameters.items()}
        # Atoms are the last axis: loops over neighbours are then loops over whole vectors.
        atoms = (
            index[neighbors.center],
            index[neighbors.species].T,
            jnp.transpose(neighbors.vectors, (1, 2, 0)),
            neighbors.mask.T,
        )
        n = len(neighbors.center)
        if n <= BLOCK:
            bonds = _bonds(tables, *atoms)
        else:
            # The triples of a block are computed again for derivatives, and never kept.
            blocks = math.ceil(n / BLOCK)

            def cut(array: Array) -> Array:
                padding = [(0, 0)] * (array.ndim - 1) + [(0, blocks * BLOCK - n)]
                parts = jnp.pad(array, padding).reshape(*array.shape[:-1], blocks, BLOCK)
                return jnp.moveaxis(parts, -2, 0)

            one = jax.checkpoint(lambda block: _bonds(tables, *block))
            found = jax.lax.map(one, jax.tree.map(cut, atoms))
            bonds = jnp.moveaxis(found, 0, 1).reshape(found.shape[1], -1)[:, :n]
        # Half of a bond, which both of its atoms count, is shared by the two.
        return 0.25 * (jnp.sum(bonds, axis=0) + sum_at_sources(neighbors, bonds.T))


def _bonds(
    tables: dict[str, Float[Array, "e e e"]],
    i: Int[Array, " n"],
    j: Int[Array, "m n"],
    vectors: Float[Array, "m 3 n"],
    mask: Bool[Array, "m n"],
) -> Float[Array, "m n"]:
    """The energies :math:`V_{ij}` in eV of the bonds of atoms along the last axis; 0 for padding.

    Args:
        tables: an array of each parameter, by the elements of a triple.
        i: elements of the atoms.
        j: elements of their neighbours.
        vectors: vectors to their neighbours in Angstrom.
        mask: false for padding.
    """
    pair = {name: _of(table, i[None], j, j) for name, table in tables.items()}
    triple = {
        name: _of(table, i[None, None], j[:, None], j[None, :]) for name, table in tables.items()
    }
    r = safe_norm(vectors, axis=1)
    direction = vectors * safe_divide(jnp.ones_like(r), r)[:, None]
    # A product of matrices, also in derivatives: XLA would compute its terms again and again.
    cosine = einsum("jxn,kxn->jkn", direction, direction)
    # The sum over k, of which j itself and padding are no part.
    same = jnp.eye(len(mask), dtype=bool)[..., None]
    others = mask[:, None] & mask[None, :] & ~same
    away = (triple["h"] - cosine) ** 2
    # The difference of two large fractions, brought over one denominator.
    d2 = triple["d"] ** 2
    angular = triple["gamma"] * (1.0 + triple["c"] ** 2 * away / (d2 * (d2 + away)))
    power = triple["lambda3"] * (r[:, None] - r[None, :])
    power = jnp.where(triple["m"] == 3.0, power**3, power)
    decay = jnp.exp(jnp.clip(power, -LARGEST_EXPONENT, LARGEST_EXPONENT))
    within = _cutoff(r[None, :], triple["R"], triple["D"])
    zeta = jnp.sum(jnp.where(others, within * angular * decay, 0.0), axis=1)
    # Without other bonds the order is 1, where the power of zero has no derivative.
    scaled = pair["beta"] * zeta
    bonded = scaled > 0.0
    safe = jnp.where(bonded, scaled, 1.0)
    order = jnp.where(bonded, (1.0 + safe ** pair["n"]) ** (-0.5 / pair["n"]), 1.0)
    repulsion = pair["A"] * jnp.exp(-pair["lambda1"] * r)
    attraction = pair["B"] * jnp.exp(-pair["lambda2"] * r)
    value = _cutoff(r, pair["R"], pair["D"]) * (repulsion - order * attraction)
    return jnp.where(mask, value, 0.0)


def _of(
    table: Float[Array, "e e e"], i: Int[Array, "..."], j: Int[Array, "..."], k: Int[Array, "..."]
) -> Float[Array, "..."]:
    """A parameter of triples of elements, in their shape or one that spreads to it."""
    if table.size == 1:
        return table.reshape((1,) * max(i.ndim, j.ndim, k.ndim))
    return table[i, j, k]


def _cutoff(
    r: Float[Array, "..."], middle: Float[Array, "..."], half: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Cutoff function that falls from 1 to 0 as a sine, over twice the half width."""
    phase = 0.5 * jnp.pi * jnp.clip((r - middle) / half, -1.0, 1.0)
    return 0.5 * (1.0 - jnp.sin(phase))
