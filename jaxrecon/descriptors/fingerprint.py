"""Fingerprint: a descriptor and its pooling, from a structure to one vector of numbers."""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.descriptors import pooling
from jaxrecon.descriptors.base import Descriptor
from jaxrecon.descriptors.layout import Number, View, find
from jaxrecon.descriptors.pooling import EXTREMES, PER_ATOM, POOLINGS, Pool, PoolingName
from jaxrecon.descriptors.registry import PRESETS, descriptor_of
from jaxrecon.structures.neighbors import image_neighbors, neighbors
from jaxrecon.structures.structure import Structure


@dataclass(frozen=True)
class Fingerprint:
    r"""The map :math:`R(x)`: descriptor rows of all atoms, pooled feature by feature.

    A frozen, hashable value: pass it to ``jit`` as a static argument or close over it. Calling it
    on a :class:`~jaxrecon.structures.structure.Structure` is a pure function that ``jit``, ``vmap``
    and ``grad`` transform, by the positions and by the cell. Its pull-back is a closed form where
    there is one channel of neighbours, so that ``jvp`` is not defined there: take
    :meth:`with_jacobian`.

    Attributes:
        descriptor: the local descriptor: :class:`~jaxrecon.ACSF`, or another family of
            :data:`~jaxrecon.descriptors.registry.DESCRIPTORS`.
        poolings: reductions over atoms, in the order of the features: any of
            :data:`jaxrecon.descriptors.pooling.POOLINGS`, which that module explains.
        images: how a periodic cell is seen: ``"all"`` images within the cutoff, or ``"minimum"``,
            one image of each atom, the convention of Fung et al.
        per_element: whether the atoms of each central element are pooled by themselves.
        max_atoms: for the poolings ``"sorted"`` and ``"none"``: how many atoms there is room for,
            in the structure or, with ``per_element``, of one element.
        temperature: of ``"smooth_max"`` and ``"smooth_min"``, in units of the feature.

    Raises:
        ValueError: if a value is not among those named above or is out of range.

    >>> from ase.build import molecule
    >>> from jaxrecon import from_ase
    >>> fingerprint = Fingerprint.preset("fung2022", elements=["H", "O"])
    >>> fingerprint(from_ase(molecule("H2O"))).shape, fingerprint.names[0]
    ((860,), 'max G2[H] eta=0.01 r_s=0')
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
    def preset(cls, name: str, elements: Iterable[str], **changes: Any) -> "Fingerprint":
        """A named set of parameters for the given elements.

        ``"default"``: broad functions within 12 Angstrom, mean and variance over the atoms of each
        element: the shortest that inverts reliably, 46 numbers for one element. ``"crystal"``: the
        same within 6 Angstrom, for sums over all periodic images. ``"fung2022"``: the 380 numbers
        (for one element) of Fung et al., arXiv 2207.13227: G2 and G5 within 20 Angstrom, crystals
        in the minimum image. ``"gastegger2018"``: the weighted functions (wACSF) of Gastegger et
        al. within 8 Angstrom, whose number does not grow with that of the elements. These two take
        the largest and the smallest value over all atoms. ``"bonds"``: functions of bonds and
        angles, with mean and variance, made for learning energies.

        Args:
            name: one of the five.
            elements: chemical symbols.
            **changes: attributes that shall differ, like ``poolings=("mean",)``, or arguments of
                the recipe, like ``r_cut=8.0``; :mod:`jaxrecon.descriptors.acsf.presets` has them.

        Raises:
            ValueError: if the name or an element is unknown, or a change is out of range.
        """
        if name not in PRESETS:
            raise ValueError(f"expected a preset among {tuple(PRESETS)}, got {name!r}")
        preset = PRESETS[name]
        own = {key: changes.pop(key) for key in POOLED if key in changes}
        if unknown := sorted(set(changes) - set(inspect.signature(preset.descriptor).parameters)):
            raise ValueError(f"expected changes that preset {name!r} takes, got {unknown}")
        return cls(preset.descriptor(tuple(elements), **changes), **{**preset.settings, **own})

    def restricted(self, elements: Iterable[str]) -> "Fingerprint":
        """The fingerprint of structures of these elements alone: their numbers and no others.

        Args:
            elements: chemical symbols, some of those that it has.

        >>> fingerprint = Fingerprint.preset("default", ["H", "C", "O"])
        >>> fingerprint.size, fingerprint.restricted(["H", "O"]).size
        (630, 232)
        """
        return replace(self, descriptor=self.descriptor.with_elements(elements))

    def __call__(self, structure: Structure) -> Float[Array, " p"]:
        """The fingerprint of one structure, without a unit.

        NaN throughout where a neighbour within the cutoff is missing: see :meth:`overflow`.
        """
        view = self.view(structure)
        return self._spread(view, self.pooled(view, self.rows(view)))

    def with_jacobian(
        self, structure: Structure
    ) -> tuple[Float[Array, " p"], Float[Array, "p n 3"]]:
        """The fingerprint and its derivatives by the positions, in 1/Angstrom, in closed form.

        Where atoms tie for a largest or smallest value the derivative is that of the first.

        Args:
            structure: one, without an axis of a batch.
        """
        view = self.view(structure)
        value, jacobian = self.pooled_with_jacobian(view)
        return self._spread(view, value), self._spread(view, jacobian)

    def overflow(self, structure: Structure) -> Bool[Array, ""]:
        """Whether the bounds or ``max_atoms`` are too small, so that an atom would be left out.

        Args:
            structure: one, without an axis of a batch.
        """
        return jnp.asarray(self.view(structure).neighbors.overflow)

    def view(self, structure: Structure) -> View:
        """A structure as its atoms see it.

        Args:
            structure: one, without an axis of a batch.
        """
        every = jnp.asarray(self.descriptor.species)
        bounds, species, mask = structure.bounds, structure.species, structure.mask
        elements, overflow = every, jnp.zeros((), bool)
        if bounds is not None and bounds.elements is not None and bounds.elements < len(every):
            known = mask & (species[:, None] == every[None, :]).any(axis=1)
            # 0 comes first, for padding and foreigners; then those there, ascending; then to spare.
            found = jnp.append(jnp.where(known, species, 0), 0)
            found = jnp.unique(found, size=bounds.elements + 2, fill_value=0)
            elements, overflow = found[1:-1], found[-1] > 0
        if structure.cell is None or (self.images == "minimum" and not _has_bins(structure)):
            seen = neighbors(structure)
        else:
            seen = image_neighbors(structure, self.descriptor.r_cut)
        groups = mask[None, :]
        if self.per_element:
            groups = groups & (elements[:, None] == species[None, :])
        if self.per_atom and self.max_atoms is not None:
            overflow |= jnp.any(groups.sum(axis=1) > self.max_atoms)
        seen = seen._replace(overflow=seen.overflow | overflow)
        columns = self._columns(elements) if len(elements) < len(every) else None
        return View(seen, groups, elements, columns)

    def rows(self, view: View) -> Float[Array, "n f"]:
        """The descriptor of every atom, in the channels of the view.

        Args:
            view: of a structure.
        """
        return self.descriptor(view.neighbors, view.elements)

    def pooled(self, view: View, rows: Float[Array, "n f"]) -> Float[Array, " q"]:
        """The numbers of the view, pool-major, then group, entry and feature.

        Args:
            view: of a structure.
            rows: its descriptors, one row an atom, without a unit.
        """
        values = [
            jax.vmap(partial(pooling.pooled, pool, rows))(view.groups).ravel()
            for pool in self.pools
        ]
        return jnp.concatenate(values)

    def pooled_with_jacobian(
        self, view: View, *, strain: bool = False
    ) -> tuple[Float[Array, " q"], Float[Array, "q x 3"]]:
        """The numbers of the view and their derivatives by the positions, in 1/Angstrom.

        Args:
            view: of a structure.
            strain: whether three rows follow those by the n atoms: by the symmetric strain, the
                atoms moving with the cell, without a unit.
        """
        if not strain and self._selected_suffice(view):
            rows = self.rows(view)
            selected, present = pooling.selected_atoms(self.pools, rows, view.groups)
            atom = jnp.where(present, selected, len(rows))
            derivatives = self.descriptor.selected_jacobian(view.neighbors, atom, view.elements)
            return self.pooled(view, rows), derivatives.reshape(-1, *derivatives.shape[2:])
        rows, by_vectors = self.descriptor.with_jacobian(view.neighbors, view.elements)
        derivatives = pooling.jacobian(
            self.pools, rows, by_vectors, view.groups, view.neighbors, strain=strain
        )
        return self.pooled(view, rows), derivatives

    def _selected_suffice(self, view: View) -> bool:
        """Whether the Jacobian needs so few entries of the rows that only these are computed."""
        return (
            self.descriptor.selects(view.neighbors)
            and set(self.poolings) <= set(EXTREMES)
            and 2 * len(self.poolings) * len(view.groups) <= len(view.neighbors.mask)
        )

    def _spread(self, view: View, numbers: Float[Array, "q ..."]) -> Float[Array, "p ..."]:
        """The numbers of a view at their places, 0 elsewhere; NaN if something was left out."""
        if view.columns is not None:
            whole = jnp.zeros((self.size, *numbers.shape[1:]), numbers.dtype)
            numbers = whole.at[view.columns].set(numbers, mode="drop")
        return jnp.where(view.neighbors.overflow, jnp.nan, numbers)

    def _columns(self, elements: Int[Array, " e"]) -> Int[Array, " q"]:
        """Where the numbers for some elements stand among all."""
        features = self.descriptor.size
        column = self.descriptor.columns(elements)
        group, known = jnp.zeros(1, int), jnp.ones(1, bool)
        if self.per_element:
            group, known = self.descriptor.places(elements)
        start, columns = 0, []
        for pool in self.pools:
            row = group[:, None] * pool.rows + jnp.arange(pool.rows)[None, :]
            present = known[:, None, None] & (column < features)[None, None, :]
            place = start + row[:, :, None] * features + column[None, None, :]
            columns.append(jnp.where(present, place, self.size).ravel())
            start += len(self._group_names) * pool.rows * features
        return jnp.concatenate(columns)

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The poolings with their parameters."""
        return tuple(Pool(kind, self.max_atoms or 1, self.temperature) for kind in self.poolings)

    @property
    def per_atom(self) -> tuple[str, ...]:
        """Those of the poolings that keep a number for each atom, and so limit the atoms."""
        return tuple(kind for kind in self.poolings if kind in PER_ATOM)

    @property
    def _group_names(self) -> tuple[str, ...]:
        return self.descriptor.elements if self.per_element else ("",)

    @property
    def numbers(self) -> tuple[Number, ...]:
        """What each of the numbers is, in order, for code; :attr:`names` says it for people."""
        return tuple(
            Number(pool.kind, center, entry, feature)
            for pool in self.pools
            for center in self._group_names
            for entry in range(pool.rows)
            for feature in range(self.descriptor.size)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What each of the numbers is, like ``'max G5[Na,Cl] zeta=4 lam=1 eta=0.1'``.

        A central element stands in brackets behind the pooling: ``'max[O] G2[H] eta=4 r_s=1'``.
        """
        return tuple(
            f"{label} {name}"
            for pool in self.pools
            for group in self._group_names
            for label in pool.names(group)
            for name in self.descriptor.names
        )

    def find(self, words: str) -> Int[np.ndarray, " some"]:
        """Indices of the features whose name has all of these words; ``*`` stands for anything.

        Args:
            words: between blanks; two elements may come in either order.

        >>> fingerprint = Fingerprint.preset("fung2022", ["Na", "Cl"])
        >>> indices = fingerprint.find("max G5[Cl,Na] zeta=4 eta=0.1")
        >>> [fingerprint.names[i] for i in indices]
        ['max G5[Na,Cl] zeta=4 lam=-1 eta=0.1', 'max G5[Na,Cl] zeta=4 lam=1 eta=0.1']
        """
        return find(self.names, words)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        rows = sum(pool.rows for pool in self.pools)
        return rows * len(self._group_names) * self.descriptor.size

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data, those of the descriptor under ``"descriptor"``."""
        pooled = {name: getattr(self, name) for name in POOLED}
        return {"descriptor": self.descriptor.to_dict(), **pooled, "poolings": list(self.poolings)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Fingerprint":
        """The inverse of :meth:`to_dict`.

        Args:
            data: settings by name.

        Raises:
            ValueError: if a setting or the family of the descriptor is unknown, or a value is out
                of range.
        """
        settings = dict(data)
        descriptor = settings.pop("descriptor", None)
        if not isinstance(descriptor, Mapping):
            raise ValueError(f"expected settings of a descriptor by name, got {descriptor!r}")
        if unknown := sorted(set(settings) - set(POOLED)):
            raise ValueError(f"expected settings among {sorted(POOLED)}, got {unknown}")
        if "poolings" in settings:
            settings["poolings"] = tuple(settings["poolings"])
        return cls(descriptor_of(descriptor), **settings)

    def to_json(self) -> str:
        """The parameters as JSON, keys sorted: equal fingerprints give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Fingerprint":
        """The inverse of :meth:`to_json`.

        Args:
            text: as that gives it.
        """
        return cls.from_dict(json.loads(text))

    def digest(self) -> str:
        """A short stable hash of the parameters, the same in every process."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def differences(self, other: "Fingerprint") -> list[str]:
        """Names of the parameters in which two fingerprints differ, with both values.

        Args:
            other: the second one.
        """
        ours, theirs = (
            {**data.pop("descriptor"), **data} for data in (self.to_dict(), other.to_dict())
        )
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        return [f"{key}: {ours.get(key)} != {theirs.get(key)}" for key in keys]


POOLED = tuple(name for name in Fingerprint.__dataclass_fields__ if name != "descriptor")
"""The settings of a fingerprint beside its descriptor."""


def _has_bins(structure: Structure) -> bool:
    return structure.bounds is not None and structure.bounds.bins is not None
