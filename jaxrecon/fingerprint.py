"""Fingerprint: a descriptor and its pooling, from a structure to one vector of numbers."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon import pooling
from jaxrecon.descriptors.acsf import ACSF
from jaxrecon.objectives import mean_absolute_residual
from jaxrecon.refine import NormalEquations
from jaxrecon.space import Neighbors, image_neighbors, images_of, neighbors
from jaxrecon.structures import Structure, checked_cell, from_ase, is_periodic, stack

PRESETS: tuple[str, ...] = ("fung2022", "crystal")


@dataclass(frozen=True)
class Fingerprint:
    r"""The map :math:`R(x)`: descriptor rows of all atoms, pooled feature by feature.

    A frozen, hashable value: pass it to ``jit`` as a static argument or close over it. Calling it
    on a :class:`~jaxrecon.structures.Structure` is a pure function that ``jit``, ``vmap`` and
    ``grad`` transform.

    Attributes:
        descriptor: the local descriptor.
        poolings: reductions over atoms, in the order of the features: ``"max"``, ``"min"``.
        images: how a periodic cell is seen: ``"all"`` images within the cutoff, or ``"minimum"``,
            one image of each atom, the convention of Fung et al.

    Raises:
        ValueError: if a pooling or the images are not among those named above.

    >>> from ase.build import molecule
    >>> fingerprint = Fingerprint.preset("fung2022", elements=["H", "O"])
    >>> fingerprint(from_ase(molecule("H2O"))).shape, fingerprint.names[0]
    ((860,), 'max G2[H] eta=0.01 r_s=0')
    """

    descriptor: ACSF
    poolings: tuple[pooling.PoolingName, ...] = ("max", "min")
    images: Literal["all", "minimum"] = "all"

    def __post_init__(self) -> None:
        if not self.poolings or not set(self.poolings) <= set(pooling.POOLINGS):
            raise ValueError(f"expected poolings among {pooling.POOLINGS}, got {self.poolings}")
        if self.images not in ("all", "minimum"):
            raise ValueError(f"expected images 'all' or 'minimum', got {self.images!r}")

    @classmethod
    def preset(cls, name: str, elements: Iterable[str]) -> "Fingerprint":
        """A published set of parameters for the given elements.

        ``"fung2022"``: the 380 numbers (for one element) of Fung et al., arXiv 2207.13227: G2 and
        G5 within 20 Angstrom, largest and smallest value over the atoms; crystals in the minimum
        image. ``"crystal"``: a shorter set within 6 Angstrom, over all periodic images.

        Raises:
            ValueError: if the name or an element is unknown.
        """
        if name not in PRESETS:
            raise ValueError(f"expected a preset among {PRESETS}, got {name!r}")
        if name == "fung2022":
            return cls(ACSF(elements=tuple(elements)), images="minimum")
        return cls(
            ACSF(
                elements=tuple(elements),
                r_cut=6.0,
                g2_eta=(4.0,),
                g2_r_s=(1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5),
                g5_zeta=(1, 4, 16),
                g5_eta=(0.02, 0.1),
            )
        )

    def __call__(self, structure: Structure) -> Float[Array, " p"]:
        """The fingerprint of one structure, without a unit."""
        rows = self.descriptor(self._neighbors(structure))
        return pooling.pool(rows, structure.mask, self.poolings)

    def with_jacobian(
        self, structure: Structure
    ) -> tuple[Float[Array, " p"], Float[Array, "p n 3"]]:
        """The fingerprint and its derivatives by the positions, in 1/Angstrom, in closed form.

        Where atoms tie for a largest or smallest value the derivative is that of the first.
        """
        seen = self._neighbors(structure)
        rows, jacobian = self.descriptor.with_jacobian(seen)
        winner = pooling.winners(rows, structure.mask, self.poolings)
        feature = jnp.tile(jnp.arange(rows.shape[1]), len(self.poolings))
        derivatives = pooling.by_positions(jacobian[winner, feature], winner, seen.source)
        return rows[winner, feature], derivatives

    def normal_equations(self, structure: Structure, target: Float[Array, " p"]) -> NormalEquations:
        """Gauss-Newton model of the squared residual ``|R(x) - target|^2``: the cheap one."""
        value, jacobian = self.with_jacobian(structure)
        flat = jacobian.reshape(value.shape[0], -1)
        residual = value - target
        return NormalEquations(
            gram=jnp.matmul(flat.T, flat, precision=Precision.HIGHEST),
            gradient=jnp.matmul(residual, flat, precision=Precision.HIGHEST),
            squared=jnp.sum(residual**2),
            residual=mean_absolute_residual(value, target),
        )

    def bound_equations(self, structure: Structure, target: Float[Array, " p"]) -> NormalEquations:
        r"""Gauss-Newton model of all that the target demands of all atoms: for the last steps.

        Squared are the differences :math:`G_{if} - R^*_f` of the entries that the target binds,
        see :func:`jaxrecon.pooling.deviations`: zero exactly where :math:`R(x) = R^*`, and smooth
        where atoms tie. It costs about twice as much as :meth:`normal_equations`.
        """
        seen = self._neighbors(structure)
        rows, jacobian = self.descriptor.with_jacobian(seen)
        n, f, m, _ = jacobian.shape
        centre = jnp.repeat(jnp.arange(n), f)
        flat = pooling.by_positions(jacobian.reshape(n * f, m, 3), centre, seen.source)
        flat = flat.reshape(n * f, -1)
        difference, bound = pooling.deviations(rows, target, structure.mask, self.poolings)
        difference = jnp.where(bound, difference, 0.0)
        weight = bound.sum(0).astype(rows.dtype).reshape(-1, 1)
        value = pooling.pool(rows, structure.mask, self.poolings)
        return NormalEquations(
            gram=jnp.matmul(flat.T, weight * flat, precision=Precision.HIGHEST),
            gradient=jnp.matmul(difference.sum(0).ravel(), flat, precision=Precision.HIGHEST),
            squared=jnp.sum(difference**2),
            residual=mean_absolute_residual(value, target),
        )

    def blame(self, structure: Structure, target: Float[Array, " p"]) -> Float[Array, " n"]:
        """For each atom the sum of ``|R - target|`` over the features of which it is the winner."""
        rows = self.descriptor(self._neighbors(structure))
        error = jnp.abs(pooling.pool(rows, structure.mask, self.poolings) - target)
        winner = pooling.winners(rows, structure.mask, self.poolings)
        return jnp.zeros(rows.shape[0], rows.dtype).at[winner].add(error)

    def _neighbors(self, structure: Structure) -> Neighbors:
        if structure.cell is None or self.images == "minimum":
            return neighbors(structure)
        return image_neighbors(structure, self.descriptor.r_cut)

    @property
    def names(self) -> tuple[str, ...]:
        """What each of the numbers is, like ``'max G5[Cl,Na] zeta=4 lam=1 eta=0.1'``."""
        return tuple(f"{kind} {name}" for kind in self.poolings for name in self.descriptor.names)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return len(self.poolings) * len(self.descriptor.names)

    def to_dict(self) -> dict[str, Any]:
        """The parameters as plain data, with the name of the descriptor's family."""
        return {
            "descriptor": "acsf",
            **asdict(self.descriptor),
            "poolings": list(self.poolings),
            "images": self.images,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Fingerprint":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: if the family or a key is unknown or a value is out of range.
        """
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        family = fields.pop("descriptor", None)
        if family != "acsf":
            raise ValueError(f"expected descriptor 'acsf', got {family!r}")
        outer = {key: fields.pop(key) for key in ("poolings", "images") if key in fields}
        unknown = set(fields) - set(ACSF.__dataclass_fields__)
        if unknown:
            raise ValueError(
                f"expected parameters of {sorted(ACSF.__dataclass_fields__)}, got {sorted(unknown)}"
            )
        return cls(ACSF(**fields), **outer)

    def to_json(self) -> str:
        """The parameters as JSON, keys sorted: equal fingerprints give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Fingerprint":
        """The inverse of :meth:`to_json`."""
        return cls.from_dict(json.loads(text))

    def digest(self) -> str:
        """A short stable hash of the parameters, the same in every process."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def differences(self, other: "Fingerprint") -> list[str]:
        """Names of the parameters in which two fingerprints differ, with both values."""
        ours, theirs = self.to_dict(), other.to_dict()
        return [f"{key}: {ours[key]} != {theirs[key]}" for key in ours if ours[key] != theirs[key]]


def featurize(
    structures: Atoms | Sequence[Atoms], fingerprint: Fingerprint
) -> Float[np.ndarray, "structures p"]:
    """Fingerprints of ASE structures in float64, all of one batch padded to the largest.

    Args:
        structures: free ones, or ones periodic along three axes; sizes and compositions may mix.
        fingerprint: what to compute.

    Raises:
        ValueError: if a structure has an element that the fingerprint has no channel for, is
            periodic along some axes only, or its cell is singular or left-handed.

    >>> from ase.build import molecule
    >>> featurize([molecule("H2O"), molecule("H2")], Fingerprint.preset("fung2022", "HO")).shape
    (2, 860)
    """
    items = [structures] if isinstance(structures, Atoms) else list(structures)
    for number, atoms in enumerate(items):
        foreign = sorted(set(atoms.symbols) - set(fingerprint.descriptor.elements))
        if foreign:
            raise ValueError(
                f"expected elements among {fingerprint.descriptor.elements} in structure {number}, "
                f"got {foreign}"
            )
        if len(atoms) == 0:
            raise ValueError(f"expected at least one atom in structure {number}, got none")
        if is_periodic(atoms):
            checked_cell(atoms.cell.array)
    values = np.empty((len(items), fingerprint.size))
    with jax.enable_x64(True):
        for periodic in (False, True):
            chosen = [i for i, atoms in enumerate(items) if is_periodic(atoms) is periodic]
            if chosen:
                size = max(len(items[i]) for i in chosen)
                images = None
                if periodic and fingerprint.images == "all":
                    images = images_of([items[i] for i in chosen], fingerprint.descriptor.r_cut)
                batch = stack([from_ase(items[i], size, images) for i in chosen])
                values[chosen] = np.asarray(_compiled(fingerprint)(batch))
    return values


def elements_of(structures: Iterable[Atoms]) -> tuple[str, ...]:
    """Symbols that occur in any of the structures, sorted by atomic number."""
    found = {symbol for atoms in structures for symbol in atoms.symbols}
    return tuple(sorted(found, key=lambda symbol: atomic_numbers[symbol]))


def composition_of(symbols: str | Sequence[str] | Sequence[int]) -> tuple[str, ...]:
    """Chemical symbols of every atom, from a formula or a list of symbols or atomic numbers.

    Raises:
        ValueError: if the formula can't be read or an element is unknown.

    >>> composition_of("TiO2")
    ('Ti', 'O', 'O')
    """
    from ase.symbols import Symbols, string2symbols

    try:
        if isinstance(symbols, str):
            listed = string2symbols(symbols)
        else:
            listed = [
                chemical_symbols[item] if isinstance(item, (int, np.integer)) else str(item)
                for item in symbols
            ]
        Symbols.fromsymbols(listed)
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(
            f"expected a chemical formula like 'Pt10' or 'TiO2', got {symbols!r}"
        ) from error
    if not listed or "X" in listed:
        raise ValueError(f"expected a chemical formula like 'Pt10' or 'TiO2', got {symbols!r}")
    return tuple(listed)


@lru_cache(maxsize=32)
def _compiled(fingerprint: Fingerprint) -> Any:
    return jax.jit(lambda batch: jax.lax.map(fingerprint, batch, batch_size=32))
