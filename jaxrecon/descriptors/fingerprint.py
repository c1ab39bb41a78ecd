"""Fingerprint: one vector of numbers for a structure, by a descriptor and its pooling."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors import pooling
from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.checks import Elements, element_symbols
from jaxrecon.descriptors.layout import PooledFeature, columns, find
from jaxrecon.descriptors.pooling import EXTREMES, PER_ATOM, POOLINGS, Pool, PoolingName
from jaxrecon.descriptors.registry import PRESETS, descriptor_of
from jaxrecon.descriptors.view import View, channel_elements, environments
from jaxrecon.runtime.descriptions import digest
from jaxrecon.structures.structure import Structure


@dataclass(frozen=True)
class Fingerprint:
    r"""A representation :math:`R(x)` of a structure x, from which the inverse recovers x.

    A descriptor computes a row of numbers :math:`G_i` for the environment of each atom i. Poolings
    :math:`P_k` then combine each feature f over all atoms, so that their order does not matter:

    .. math:: R(x) = \big( P_k \{ G_{if}(x) : i = 1 \dots n \} \big)_{k, f}

    Use :meth:`preset` to make one of the common fingerprints, and :func:`jaxrecon.featurize` to
    compute it for ASE structures of any size and composition.

    For programs of your own, a fingerprint is a pure function of one
    :class:`~jaxrecon.structures.structure.Structure` that ``jit``, ``vmap``, ``grad`` and ``jvp``
    transform; it has derivatives by the positions and the cell. It is hashable: pass it to ``jit``
    as a static argument or close over it. For the whole Jacobian, :meth:`with_jacobian` is faster
    than ``jacrev`` and ``jacfwd``.

    Attributes:
        descriptor: the descriptor, of any family in
            :data:`~jaxrecon.descriptors.registry.DESCRIPTORS`, such as :class:`~jaxrecon.ACSF`.
        poolings: names of the poolings :math:`P_k`, in the order of the numbers; see
            :mod:`jaxrecon.descriptors.pooling`.
        images: which periodic images of an atom are neighbours: ``"all"`` within the cutoff, or
            only the nearest one, ``"minimum"``, which is the convention of Fung et al.
        per_element: whether to pool the atoms of each element separately.
        max_atoms: for the poolings ``"sorted"`` and ``"none"``, largest number of atoms in a
            structure or, with ``per_element``, of one element.
        temperature: for the poolings ``"smooth_max"`` and ``"smooth_min"``, their temperature on
            the scale of the features.

    Raises:
        ValueError: if a value is none of those named above or is out of range.

    >>> from ase.build import molecule
    >>> from jaxrecon import from_ase
    >>> fingerprint = Fingerprint.preset("fung2022", elements=["H", "O"])
    >>> fingerprint(from_ase(molecule("H2O"))).shape
    (860,)
    >>> fingerprint.names[0], fingerprint.names[-1]
    ('max G2[H] eta=0.01 r_s=0', 'min G5[O,O] zeta=64 lam=1 eta=1')
    """

    descriptor: Descriptor
    poolings: tuple[PoolingName, ...] = ("max", "min")
    images: Literal["all", "minimum"] = "all"
    per_element: bool = False
    max_atoms: int | None = None
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not self.poolings or not set(self.poolings) <= set(POOLINGS):
            raise ValueError(f"expected poolings among {POOLINGS}, got {self.poolings}")
        if len(set(self.poolings)) < len(self.poolings):
            raise ValueError(f"expected each pooling once, got {self.poolings}")
        if self.images not in ("all", "minimum"):
            raise ValueError(f"expected images 'all' or 'minimum', got {self.images!r}")
        if self.per_atom and (self.max_atoms is None or self.max_atoms < 1):
            raise ValueError(
                "expected max_atoms >= 1, the most atoms, for pooling "
                f"{self.per_atom[0]!r}, got {self.max_atoms}"
            )
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"expected temperature > 0, got {self.temperature}")

    @classmethod
    def preset(cls, name: str, elements: Elements | None = None, **changes: Any) -> "Fingerprint":
        """Make a fingerprint with published or proven settings.

        - ``"default"``: mean, variance of broad functions within 12 Angstrom; 46 for one element.
        - ``"cluster"``: the same with more angles, for many atoms of one element; 82 for it.
        - ``"crystal"``: lower exponents within 6 Angstrom, for all periodic images.
        - ``"universal"``: one length for any elements; it tells them and the number of atoms too.
        - ``"alchemical"``: the same with smooth weights of elements, to learn from.
        - ``"bonds"``: functions of bonds and angles, made for learning energies; mean and variance.
        - ``"fung2022"``: Fung et al., arXiv 2207.13227: G2 and G5 within 20 Angstrom, the minimum
          image, largest and smallest values; 380 numbers for one element.
        - ``"gastegger2018"``: weighted functions (wACSF); extremes; 64 numbers for any elements.
        - ``"soap"``: SOAP within 8 Angstrom; mean and variance; 80 numbers for one element.
        - ``"average_dscribe"``, ``"cgap2017"``, ``"chong2023_si"``, ``"chong2023_c"`` and
          ``"chong2023_gaas"``: published settings of SOAP, averaged over all atoms.

        Args:
            name: name of the preset.
            elements: elements that structures may have: symbols, or a text like ``"NaCl"``. None
                for all that ``"universal"`` or ``"alchemical"`` knows.
            **changes: attributes with another value than in the preset, like
                ``poolings=("mean",)``; or arguments of the preset's descriptor, like ``r_cut=8.0``,
                which ``jaxrecon.descriptors.acsf.presets`` and ``.soap.presets`` describe.

        Returns:
            The fingerprint.

        Raises:
            ValueError: if the name or an element is unknown, or a change is not possible.

        >>> Fingerprint.preset("default", ["Pt"], r_cut=8.0, poolings=("mean",)).size
        19
        """
        if name not in PRESETS:
            raise ValueError(f"expected a preset among {tuple(PRESETS)}, got {name!r}")
        preset = PRESETS[name]
        own = {key: changes.pop(key) for key in OWN_SETTINGS if key in changes}
        if unknown := sorted(set(changes) - set(preset.parameters)):
            raise ValueError(f"expected changes that preset {name!r} takes, got {unknown}")
        if elements is None and preset.needs_elements:
            raise ValueError(f"expected elements like 'H,O' for preset {name!r}, got none")
        named = {} if elements is None else {"elements": element_symbols(elements)}
        return cls(preset.descriptor(**named, **changes), **{**preset.settings, **own})

    def restricted(self, elements: Elements) -> "Fingerprint":
        """Restrict the fingerprint to structures of some of its elements.

        Args:
            elements: these elements, as for :meth:`preset`.

        Returns:
            The fingerprint without the numbers that are 0 for all such structures.

        >>> fingerprint = Fingerprint.preset("default", ["H", "C", "O"])
        >>> fingerprint.size, fingerprint.restricted(["H", "O"]).size
        (630, 232)
        """
        return replace(self, descriptor=self.descriptor.with_elements(elements))

    def __call__(self, structure: Structure) -> Float[Array, " p"]:
        """Compute the fingerprint of a structure.

        Args:
            structure: one structure; positions and cell in Angstrom.

        Returns:
            The numbers, without a unit, in the order of :attr:`names`; all NaN where
            :meth:`overflow` is true.
        """
        view = self.view(structure)
        return view.spread(self.pooled(view, self.rows(view)), self.size)

    def with_jacobian(
        self, structure: Structure
    ) -> tuple[Float[Array, " p"], Float[Array, "p n 3"]]:
        """Compute the fingerprint and its derivatives by the positions.

        Of several atoms with the largest or smallest value of a feature the first one counts.

        Args:
            structure: one structure; positions and cell in Angstrom.

        Returns:
            The numbers, without a unit, and their derivatives in 1/Angstrom.
        """
        view = self.view(structure)
        value, jacobian = self.pooled_with_jacobian(view)
        return view.spread(value, self.size), view.spread(jacobian, self.size)

    def overflow(self, structure: Structure) -> Bool[Array, ""]:
        """Whether a structure has more neighbours, elements or atoms than its bounds, or max_atoms.

        Args:
            structure: one structure.
        """
        return jnp.asarray(self.view(structure).neighbors.overflow)

    def view(self, structure: Structure) -> View:
        """Find the environments of the atoms, the channels and the groups that are pooled.

        Args:
            structure: one structure; positions and cell in Angstrom.

        Returns:
            All that :meth:`rows` and :meth:`pooled` need.
        """
        species = self.descriptor.species
        elements, overflow = channel_elements(structure, species)
        found = environments(structure, self.images, self.descriptor.r_cut)
        # Pool all atoms, or those of each element that has a channel.
        groups = structure.mask[None, :]
        if self.per_element:
            groups = groups & (elements[:, None] == structure.species[None, :])
        # Anything that does not fit counts as an overflow, as a missing neighbour does.
        if self.per_atom and self.max_atoms is not None:
            overflow |= jnp.any(groups.sum(axis=1) > self.max_atoms)
        found = found._replace(overflow=found.overflow | overflow)
        places = None
        if len(elements) < len(species):
            places = columns(self.descriptor, self.pools, elements, per_element=self.per_element)
        return View(found, groups, elements, places)

    def rows(self, view: View) -> Float[Array, "n f"]:
        """Compute the rows of all atoms, without a unit, in the channels of a view.

        Args:
            view: view of a structure.
        """
        return self.descriptor(view.neighbors, view.elements)

    def pooled(self, view: View, rows: Float[Array, "n f"]) -> Float[Array, " q"]:
        """Pool the rows of all atoms.

        Args:
            view: view of a structure.
            rows: one row for each atom, without a unit.

        Returns:
            The pooled numbers of the view, ordered by pooling, then group, entry and feature.
        """
        values = [
            jax.vmap(partial(pooling.pooled, pool, rows))(view.groups).ravel()
            for pool in self.pools
        ]
        return jnp.concatenate(values)

    def pooled_with_jacobian(
        self, view: View, *, strain: bool = False
    ) -> tuple[Float[Array, " q"], Float[Array, "q x 3"]]:
        """Compute the pooled numbers of a view and their derivatives by the positions.

        Args:
            view: view of a structure.
            strain: whether to add, below those by the n positions, the derivatives by a symmetric
                strain of cell and positions: three rows of three numbers without a unit.

        Returns:
            The numbers, without a unit, and their derivatives in 1/Angstrom.
        """
        # Few atoms are selected by extremes: compute the derivatives of their entries alone where
        # that costs less than those of all entries.
        if not strain and self._selected_suffice(view):
            rows = self.rows(view)
            selected, present = pooling.selected_atoms(self.pools, rows, view.groups)
            atom = jnp.where(present, selected, len(rows))
            derivatives = self.descriptor.selected_jacobian(view.neighbors, atom, view.elements)
            return self.pooled(view, rows), derivatives.reshape(-1, *derivatives.shape[2:])
        rows, by_entries = self.descriptor.with_derivatives(
            view.neighbors, view.elements, strain=strain
        )
        return self.pooled(view, rows), pooling.jacobian(self.pools, rows, by_entries, view.groups)

    def _selected_suffice(self, view: View) -> bool:
        """Whether the derivatives of the selected entries alone cost less than all."""
        return (
            self.descriptor.selects(view.neighbors)
            and set(self.poolings) <= set(EXTREMES)
            and 2 * len(self.poolings) * len(view.groups) <= len(view.neighbors.mask)
        )

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The poolings with their settings."""
        return tuple(Pool(kind, self.max_atoms or 1, self.temperature) for kind in self.poolings)

    @property
    def per_atom(self) -> tuple[str, ...]:
        """The poolings that give one number for each atom and need ``max_atoms``."""
        return tuple(kind for kind in self.poolings if kind in PER_ATOM)

    @property
    def _centers(self) -> tuple[str, ...]:
        """The elements whose atoms are pooled separately; one empty symbol for all atoms."""
        return self.descriptor.elements if self.per_element else ("",)

    @property
    def features(self) -> tuple[PooledFeature, ...]:
        """What each number is, in order, as data for code; :attr:`names` is for people."""
        return tuple(
            PooledFeature(pool.kind, center, entry, feature)
            for pool in self.pools
            for center in self._centers
            for entry in range(pool.size)
            for feature in range(self.descriptor.size)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers, in order, like ``'max G5[Na,Cl] zeta=4 lam=1 eta=0.1'``.

        With ``per_element``, the element of the pooled atoms is in brackets after the pooling:
        ``'max[O] G2[H] eta=4 r_s=1'`` is a function of the H atoms around O atoms.
        """
        return tuple(
            f"{label} {name}"
            for pool in self.pools
            for group in self._centers
            for label in pool.names(group)
            for name in self.descriptor.names
        )

    def find(self, words: str) -> Int[np.ndarray, " found"]:
        """Find the numbers whose names contain all of some words.

        Args:
            words: words separated by blanks, in any order. ``*`` stands for any text, and the two
                elements of a pair may come in either order.

        Returns:
            The indices of these numbers.

        >>> fingerprint = Fingerprint.preset("fung2022", ["Na", "Cl"])
        >>> indices = fingerprint.find("max G5[Cl,Na] zeta=4 eta=0.1")
        >>> [fingerprint.names[i] for i in indices]
        ['max G5[Na,Cl] zeta=4 lam=-1 eta=0.1', 'max G5[Na,Cl] zeta=4 lam=1 eta=0.1']
        """
        return find(self.names, words)

    @property
    def size(self) -> int:
        """The number of numbers in the fingerprint."""
        rows = sum(pool.size for pool in self.pools)
        return rows * len(self._centers) * self.descriptor.size

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data for JSON; those of the descriptor under ``"descriptor"``."""
        own = {name: getattr(self, name) for name in OWN_SETTINGS}
        return {"descriptor": self.descriptor.to_dict(), **own, "poolings": list(self.poolings)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Fingerprint":
        """Make the fingerprint that :meth:`to_dict` has described.

        Args:
            data: settings by name; a setting that is missing has its default value.

        Returns:
            The fingerprint.

        Raises:
            ValueError: if a setting or the family is unknown, or a value is out of range.
        """
        settings = dict(data)
        descriptor = settings.pop("descriptor", None)
        if not isinstance(descriptor, Mapping):
            raise ValueError(f"expected settings of a descriptor by name, got {descriptor!r}")
        if unknown := sorted(set(settings) - set(OWN_SETTINGS)):
            raise ValueError(f"expected settings among {sorted(OWN_SETTINGS)}, got {unknown}")
        if "poolings" in settings:
            settings["poolings"] = tuple(settings["poolings"])
        return cls(descriptor_of(descriptor), **settings)

    def to_json(self) -> str:
        """The settings as JSON with sorted keys, so that equal fingerprints give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Fingerprint":
        """Make the fingerprint from the text that :meth:`to_json` gave.

        Args:
            text: the settings as JSON.

        Raises:
            ValueError: as :meth:`from_dict`, or if the text is not JSON.
        """
        return cls.from_dict(json.loads(text))

    def digest(self) -> str:
        """A short hash of the settings that is the same in every process."""
        return digest(self.to_dict())

    def differences(self, other: "Fingerprint") -> list[str]:
        """List the settings in which another fingerprint differs from this one.

        Args:
            other: the other fingerprint.

        Returns:
            One line for each such setting, like ``"r_cut: 5.0 != 6.0"``.
        """
        ours, theirs = (
            {**data.pop("descriptor"), **data} for data in (self.to_dict(), other.to_dict())
        )
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        return [f"{key}: {ours.get(key)} != {theirs.get(key)}" for key in keys]


OWN_SETTINGS = tuple(name for name in Fingerprint.__dataclass_fields__ if name != "descriptor")
"""The settings of a fingerprint besides its descriptor."""
