"""The base class of potentials written in JAX: energies of atoms from what their neighbours are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar
from weakref import WeakKeyDictionary, proxy

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Array, Bool, Float

from jaxrecon.numerics import einsum
from jaxrecon.runtime.programs import programs_kept
from jaxrecon.structures.neighbors import Neighbors, image_neighbors, neighbors
from jaxrecon.structures.structure import Structure

P = ParamSpec("P")
R = TypeVar("R")


class Prediction(NamedTuple):
    """What a potential says of a structure.

    Attributes:
        energy: total energy in eV.
        energies: energy of each atom in eV, shape ``(n,)``; 0 for padding.
        forces: forces in eV/Angstrom, shape ``(n, 3)``; 0 for padding.
        stress: derivative of the energy by the strain over the volume in eV/Angstrom^3, shape
            ``(3, 3)``, with the sign of ASE; 0 unless the structure repeats along all three axes.
        overflow: true if a neighbour may be missing because the bounds of the structure are too
            small; see :class:`jaxrecon.structures.neighbors.Neighbors`.
    """

    energy: Float[Array, "*batch"]
    energies: Float[Array, "*batch n"]
    forces: Float[Array, "*batch n 3"]
    stress: Float[Array, "*batch 3 3"]
    overflow: Bool[Array, "*batch"]


class Potential(ABC):
    r"""Base class of potentials in JAX, of which one function has to be written.

    The energy is a sum over atoms, :math:`E = \sum_i E_i`, and each :math:`E_i` is a function of
    the vectors from atoms to their neighbours. A new potential is a subclass that

    - sets ``elements`` and ``r_cut``, and ``parameters`` if it has numbers that may be fitted;
    - implements :meth:`atomic_energies`;
    - sets ``dtype`` if it is only right in float32, and implements :meth:`edge_bytes` if the
      function needs much memory.

    Everything else follows from that: :meth:`predict` has forces and stress of one structure as a
    pure function for ``jit``, ``vmap`` and ``grad``;
    :func:`~jaxrecon.potentials.single_points.single_points` evaluates many structures of any size
    in few compiled programs; :class:`~jaxrecon.potentials.ase_calculator.PotentialCalculator` is a
    calculator of ASE; and a subclass of
    :class:`~jaxrecon.potentials.in_jax.PotentialReference` gives it a name.

    :mod:`jaxrecon.potentials.tersoff` is an example. Compiled programs belong to the object: make
    one and keep it.

    Attributes:
        elements: symbols of the elements that it knows.
        r_cut: cutoff in Angstrom. The energies must not jump there.
        dtype: precision in which energies are computed, ``numpy.float64`` or ``numpy.float32``.
        parameters: a pytree of arrays, which :meth:`atomic_energies` receives. As an argument it
            is not compiled into programs, and the energies can be differentiated by it.
    """

    elements: tuple[str, ...]
    r_cut: float
    dtype: type[np.floating] = np.float64
    parameters: Any = ()

    @abstractmethod
    def atomic_energies(self, parameters: Any, neighbors: Neighbors) -> Float[Array, " n"]:
        """Compute the energy of each atom in eV.

        Args:
            parameters: a pytree like ``self.parameters``.
            neighbors: the environments. The mask is true for neighbours within the cutoff; padding
                lies at the cutoff, and its vectors and those of the atoms must not matter.
                ``source`` and ``center`` are always given. Coincident atoms are at the vector zero:
                :func:`jaxrecon.numerics.safe_norm` has a finite gradient there.

        Returns:
            One energy for each atom; those of padding are ignored.
        """

    def edge_bytes(self, capacity: int) -> int:
        """Estimate the memory in bytes that derivatives need for each neighbour of an atom.

        Args:
            capacity: largest number of neighbours of an atom.
        """
        return 512

    def restricted(self, symbols: Iterable[str]) -> "Potential":
        """A potential with the same energies for structures of some elements, if one is faster.

        It is used in place of this one where no other parameters are given.

        Args:
            symbols: elements of the structures.

        Returns:
            This potential, unless a subclass has a better one; for the same elements the same one.
        """
        return self

    def environments(self, structure: Structure) -> Neighbors:
        """Find the neighbours within the cutoff, as :meth:`atomic_energies` receives them.

        Args:
            structure: free, or with a cell and bounds.

        Returns:
            The environments; they can be differentiated by positions and cell.

        Raises:
            ValueError: if a structure with a cell has no bounds.
        """
        if structure.cell is None:
            found = neighbors(structure)
            near = jnp.sum(found.vectors**2, axis=-1) < self.r_cut**2
            n = len(structure.mask)
            source = jnp.broadcast_to(jnp.arange(n)[None, :], (n, n))
            found = found._replace(mask=found.mask & near, source=source)
        else:
            found = image_neighbors(structure, self.r_cut)
        aside = jnp.asarray([self.r_cut, 0.0, 0.0], found.vectors.dtype)
        vectors = jnp.where(found.mask[..., None], found.vectors, aside[None, None, :])
        return found._replace(vectors=vectors)

    def energies(self, structure: Structure, parameters: Any = None) -> Float[Array, " n"]:
        """Compute the energy of each atom in eV; 0 for padding.

        Args:
            structure: free, or with a cell and bounds.
            parameters: a pytree like ``self.parameters``; None for these.

        Raises:
            ValueError: as :meth:`predict`.
        """
        self.check_structure(structure)
        parameters = self.parameters if parameters is None else parameters
        found = self.atomic_energies(parameters, self.environments(structure))
        return jnp.where(structure.mask, found, 0.0)

    def predict(self, structure: Structure, parameters: Any = None) -> Prediction:
        r"""Compute energy, energies of atoms, forces and stress of one structure.

        All derivatives follow from the derivatives :math:`g_{im}` of the energy by the vectors
        :math:`r_{im}` from the atoms to their neighbours: the stress is
        :math:`\sum_{im} r_{im} \otimes g_{im} / V`.

        Args:
            structure: free, or with a cell and bounds; positions and cell in Angstrom.
            parameters: a pytree like ``self.parameters``; None for these.

        Returns:
            The prediction; its energies and forces can be differentiated by ``parameters``.

        Raises:
            ValueError: if a structure with a cell has no bounds, or the potential lacks an element.
                Inside of a compiled function elements are unknown: check them before.
        """
        self.check_structure(structure)
        parameters = self.parameters if parameters is None else parameters
        near = self.environments(structure)

        def total(vectors: Float[Array, "n m 3"]) -> tuple[Array, Array]:
            found = self.atomic_energies(parameters, near._replace(vectors=vectors))
            energies = jnp.where(structure.mask, found, 0.0)
            return jnp.sum(energies), energies

        (energy, energies), gradient = jax.value_and_grad(total, has_aux=True)(near.vectors)
        gradient = jnp.where(near.mask[..., None], gradient, 0.0)
        forces = jnp.sum(gradient, axis=1) - sum_at_sources(near, gradient)
        virial = einsum("nmx,nmy->xy", near.vectors, gradient)
        return Prediction(
            energy, energies, forces, _stress(structure, virial), jnp.asarray(near.overflow)
        )

    def check_elements(self, symbols: Iterable[str]) -> None:
        """Check that the potential knows all elements of a structure.

        Args:
            symbols: elements of a structure.

        Raises:
            ValueError: if it lacks one.
        """
        lacking = sorted(set(symbols) - set(self.elements))
        if lacking:
            many = len(self.elements) > 10
            known = f"the {len(self.elements)} of the model" if many else ", ".join(self.elements)
            raise ValueError(f"expected elements among {known}, got {', '.join(lacking)}")

    def check_structure(self, structure: Structure) -> None:
        """Check the elements of a structure, or of a batch, where they are known: not in ``jit``.

        Args:
            structure: the structure.

        Raises:
            ValueError: if the potential lacks an element.
        """
        species, mask = structure.species, structure.mask
        if not isinstance(species, jax.core.Tracer) and not isinstance(mask, jax.core.Tracer):
            present = np.unique(np.asarray(species)[np.asarray(mask)])
            self.check_elements(chemical_symbols[number] for number in present)


def kept_with_potential(
    most: int,
) -> Callable[[Callable[Concatenate[Potential, P], R]], Callable[Concatenate[Potential, P], R]]:
    """Decorate a function of a potential, and of settings, that makes a compiled program.

    Programs are kept as long as their potential is, and don't keep it: its parameters may be large.

    Args:
        most: largest number of programs of a potential; those used last are kept.
    """

    def decorate(
        make: Callable[Concatenate[Potential, P], R],
    ) -> Callable[Concatenate[Potential, P], R]:
        makers: WeakKeyDictionary[Potential, Callable[..., R]] = WeakKeyDictionary()

        @wraps(make)
        def made(potential: Potential, /, *args: P.args, **settings: P.kwargs) -> R:
            if potential not in makers:
                makers[potential] = programs_kept(most)(partial(make, proxy(potential)))
            return makers[potential](*args, **settings)

        return made

    return decorate


def sum_at_sources(neighbors: Neighbors, values: Float[Array, "n m ..."]) -> Float[Array, "n ..."]:
    """For each atom, sum the values of all neighbours that are images of it.

    Args:
        neighbors: environments with :attr:`~jaxrecon.structures.neighbors.Neighbors.source`.
        values: a number or an array for each neighbour of each atom; padding is left out.

    Returns:
        The sums, in the unit of the values.
    """
    assert neighbors.source is not None
    mask = neighbors.mask.reshape(neighbors.mask.shape + (1,) * (values.ndim - 2))
    zeros = jnp.zeros((values.shape[0], *values.shape[2:]), values.dtype)
    return zeros.at[neighbors.source].add(jnp.where(mask, values, 0.0))


def element_indices(elements: tuple[str, ...]) -> np.ndarray:
    """The index of each element by its atomic number; 0 for all others.

    Args:
        elements: symbols.

    Returns:
        An array of whole numbers with an entry for every element there is.

    >>> element_indices(("C", "Si"))[[6, 14]].tolist()
    [0, 1]
    """
    table = np.zeros(len(chemical_symbols), np.int32)
    for index, symbol in enumerate(elements):
        table[atomic_numbers[symbol]] = index
    return table


def _stress(structure: Structure, virial: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """The symmetric virial over the volume; 0 unless the structure repeats along all axes."""
    if structure.cell is None:
        return jnp.zeros_like(virial)
    a, b, c = structure.cell
    volume = jnp.abs(jnp.sum(a * jnp.cross(b, c)))
    bulk = volume > 0.0 if structure.pbc is None else jnp.all(structure.pbc)
    symmetric = 0.5 * (virial + virial.T)
    return jnp.where(bulk, symmetric / jnp.where(bulk, volume, 1.0), 0.0)
