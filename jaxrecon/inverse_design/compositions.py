"""Compositions of generated structures: those that are allowed, and which one a drawing is nearest.

A model of several compositions draws the composition with the fingerprint: means over the atoms
that a search reads whole numbers from (:mod:`jaxrecon.search.stoichiometry`). In a fingerprint that
was drawn they are near such numbers and not on them. So each one gets the numbers of the nearest
composition that is allowed, with as many atoms as the most similar training structure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxrecon.descriptors.fingerprint import Fingerprint
from jaxrecon.inverse_design.generated import widths_of
from jaxrecon.models.design_model import DesignModel
from jaxrecon.search.stoichiometry import compositions, nearest_composition, with_composition
from jaxrecon.structures.formulas import composition_of

MOST = 32
"""Largest number of compositions of a fingerprint, multiples of one another, to choose among."""


@dataclass(frozen=True, eq=False)
class Allowed:
    """The compositions that generated structures may have.

    :meth:`of` checks them against a model.

    Attributes:
        fingerprint: the fingerprint of the model, with the allowed elements alone.
        symbols: the one composition that is allowed; None for several.
        known: scaled fingerprints of the training structures that are looked at.
        sizes: their numbers of atoms.
        scales: factors that give all numbers of a fingerprint about the same width.
    """

    fingerprint: Fingerprint
    symbols: tuple[str, ...] | None
    known: Float[np.ndarray, "n p"]
    sizes: Int[np.ndarray, " n"]
    scales: Float[np.ndarray, " p"]

    @classmethod
    def of(
        cls,
        model: DesignModel,
        *,
        symbols: str | None = None,
        elements: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        atoms: int | range | None = None,
    ) -> "Allowed":
        """Check what is wanted against what the model has learned from.

        Args:
            model: a model of several compositions.
            symbols: formula of all structures; None for any.
            elements: elements that structures may have; None for all of the model.
            exclude: elements that structures must not have.
            atoms: number of atoms of a structure, or a range of them; None for those of the
                training structures.

        Returns:
            The compositions.

        Raises:
            ValueError: if an element or a number of atoms is not in the training set, conditions
                contradict each other, or no element is left.
        """
        known = model.fingerprint.descriptor.elements
        chosen = list(known if elements is None else elements)
        excluded = list(exclude)
        _check_elements([*chosen, *excluded], known)
        if both := sorted(set(chosen) & set(excluded)) if elements is not None else []:
            raise ValueError(f"expected elements that are not excluded, got {', '.join(both)}")
        left = [symbol for symbol in known if symbol in chosen and symbol not in excluded]
        if not left:
            raise ValueError("expected at least one element that is not excluded, got none")
        wanted = model.sizes if atoms is None else atoms
        wanted = wanted if isinstance(wanted, range) else range(wanted, wanted + 1)
        formula = None
        if symbols is not None:
            formula = tuple(composition_of(symbols))
            if foreign := sorted(set(formula) - set(left)):
                raise ValueError(f"expected {symbols} of allowed elements, got {foreign}")
            if atoms is not None and len(formula) not in wanted:
                raise ValueError(f"expected {symbols} with {_text(wanted)} atoms, got others")
            wanted = range(len(formula), len(formula) + 1)
        learned = model.sizes
        if not wanted or wanted[0] < learned[0] or wanted[-1] > learned[-1]:
            raise ValueError(
                f"expected {_text(learned)} atoms, as in the training set, got {_text(wanted)}"
            )
        # Of the training structures, only similar ones tell a number of atoms: those of allowed
        # elements, if there are any.
        structures, values = model.training.structures, model.training.fingerprints
        assert structures is not None, "a model of several compositions has structures"
        assert values is not None, "a model has the fingerprints of its training set"
        fits = np.asarray([len(one) in wanted for one in structures])
        alike = fits & np.asarray([set(one.symbols) <= set(left) for one in structures])
        rows = np.flatnonzero(alike if alike.any() else fits)
        if not len(rows):
            raise ValueError(
                f"expected numbers of atoms that training structures have, got {_text(wanted)}"
            )
        widths = widths_of(values)
        scales = np.divide(1.0, widths, out=np.zeros_like(widths), where=widths > 0.0)
        return cls(
            fingerprint=model.fingerprint.restricted(left),
            symbols=formula,
            known=values[rows] * scales,
            sizes=np.asarray([len(structures[row]) for row in rows]),
            scales=scales,
        )

    def adjusted(self, drawn: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n p"]:
        """Give each fingerprint the numbers of the nearest allowed composition.

        Args:
            drawn: fingerprints that need not belong to any structure, without a unit.

        Returns:
            The same with the numbers of compositions changed.
        """
        found = np.empty_like(drawn)
        for row, vector in enumerate(drawn):
            formula = self.symbols
            if formula is None:
                formula, _ = nearest_composition(vector, self.fingerprint, self._size(vector))
            found[row] = with_composition(vector, self.fingerprint, formula)
        return found

    def compositions(self, adjusted: Float[np.ndarray, "n p"]) -> list[tuple[str, ...]]:
        """Read the composition of each fingerprint.

        Args:
            adjusted: fingerprints from :meth:`adjusted`.

        Returns:
            The symbols of all atoms of each structure: as many as the most similar training
            structure has, if the composition allows that, or the fewest.
        """
        if self.symbols is not None:
            return [self.symbols] * len(adjusted)
        found = []
        for vector in adjusted:
            multiples = compositions(vector, self.fingerprint, set(self.sizes.tolist()), MOST)
            likely = self._size(vector)
            found.append(
                next((formula for formula in multiples if len(formula) == likely), multiples[0])
            )
        return found

    def _size(self, vector: Float[np.ndarray, " p"]) -> int:
        """The number of atoms of the most similar training structure."""
        distances = np.square(self.known - vector * self.scales).sum(axis=1)
        return int(self.sizes[np.argmin(distances)])


def _check_elements(named: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError if an element does not exist or no training structure has it."""
    composition_of(list(named))
    if foreign := sorted(set(named) - set(known)):
        raise ValueError(
            f"expected elements of the training set ({', '.join(known)}), got {', '.join(foreign)}"
        )


def _text(sizes: range) -> str:
    """A range of numbers of atoms for a reader."""
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}" if sizes else "no"
