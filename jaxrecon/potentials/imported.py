"""Reference calculators of the user's own, imported by a name ``module:factory``."""

import os
import sys
from importlib import import_module
from typing import Any

from ase import Atoms

from jaxrecon.potentials.base import ReferenceCalculator


class Imported(ReferenceCalculator):
    """An ASE calculator that a function of the user's own has returned.

    Args:
        name: ``module:factory``.
        calculator: ASE calculator for free clusters and for crystals.
    """

    def __init__(self, name: str, calculator: Any) -> None:
        self.name = name
        self.distributions = ("ase", name.partition(":")[0].partition(".")[0])
        super().__init__()
        self._calculator = calculator

    def parameters(self) -> dict[str, Any]:
        """Return nothing: the name stands for all of the user's settings."""
        return {}

    def free(self, atoms: Atoms) -> Any:
        """Return the calculator that was given."""
        return self._calculator


def imported(name: str) -> ReferenceCalculator:
    """Call a function of the user's own that returns a calculator.

    Args:
        name: ``module:factory``; the module may be in the current directory. The factory returns an
            ASE calculator, or a :class:`~jaxrecon.potentials.base.ReferenceCalculator`.

    Returns:
        What the factory returned, as a reference calculator.

    Raises:
        ValueError: if the function can't be imported, raises, or returns something else.
    """
    module, _, factory = name.partition(":")
    # The command jaxrecon, unlike `python -m`, does not search the current directory by itself.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        made = getattr(import_module(module), factory)()
    # The user's code may raise anything.
    except Exception as error:
        raise ValueError(
            f"expected a function that returns an ASE calculator, got {name} "
            f"({type(error).__name__}: {error})"
        ) from error
    if isinstance(made, ReferenceCalculator):
        return made
    if not hasattr(made, "get_potential_energy"):
        raise ValueError(
            f"expected an ASE calculator from {name}, got an object of {type(made).__name__}"
        )
    return Imported(name, made)
