"""Energies of structures and of reference crystals, and the formation energies they give."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from ase import Atoms

from jaxrecon.potentials.base import Label, ReferenceCalculator
from jaxrecon.structures.structure import is_periodic

STRAIN_TOLERANCE = 5e-4
"""Relative tolerance of the lengths of a reference cell.

It costs less than 0.1 meV/atom in the stiffest metals.
"""


def label(atoms: Atoms, calculator: ReferenceCalculator) -> Label:
    """Compute energy and forces of a crystal or of a free cluster.

    Args:
        atoms: positions in Angstrom. A structure that is periodic along all three axes is a
            crystal; the cell of any other one is ignored.
        calculator: the reference calculator.

    Returns:
        Energy in eV and forces in eV/Angstrom, in double precision, and the energies of the atoms
        if the calculator has them.

    Raises:
        ValueError: if the energy or a force is not finite, or the structure is periodic along one
            or two axes only. Exceptions of the calculator pass through.

    >>> from jaxrecon.potentials.registry import reference_calculator
    >>> found = label(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]), reference_calculator("emt"))
    >>> round(found.energy, 2), found.forces.shape
    (3.19, (2, 3))
    """
    periodic = is_periodic(atoms)
    ready = calculator.for_bulk(atoms) if periodic else calculator.for_cluster(atoms)
    # A repeated cell has the energy of several; its first atoms are those of the given cell.
    energy = float(ready.get_potential_energy()) * len(atoms) / len(ready)
    # Databases of ASE need forces in double precision.
    forces = np.array(ready.get_forces(), np.float64)[: len(atoms)]
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        raise ValueError(f"expected a finite energy and forces, got {energy} eV")
    return Label(energy, forces, _energies(ready, energy, len(atoms)))


def _energies(ready: Atoms, energy: float, count: int) -> np.ndarray | None:
    """The energies of the first atoms in eV, if a calculator has some that add up to the energy."""
    found = np.asarray(ready.calc.results.get("energies", ()), np.float64)
    if found.shape != (len(ready),) or not np.isclose(found[:count].sum(), energy, 1e-5, 1e-5):
        return None
    return found[:count]


def formation_energy(energy: float, symbols: Iterable[str], bulk: Mapping[str, float]) -> float:
    r"""Compute the energy of formation from the elements in eV/atom.

    .. math:: E_{form} = (E - \sum_i n_i E_{bulk,i}) / N

    Source: Fung et al., arXiv 2207.13227, for one element.

    Args:
        energy: total energy of the structure in eV.
        symbols: elements of its atoms.
        bulk: energies of the elements in eV/atom.

    Returns:
        The formation energy in eV/atom.

    Raises:
        ValueError: if ``bulk`` lacks an element.

    >>> formation_energy(-9.0, ["Pt", "Pt"], {"Pt": -6.0})
    1.5
    """
    counts = Counter(symbols)
    if missing := sorted(set(counts) - set(bulk)):
        raise ValueError(f"expected energies of the bulk of {missing}, got {sorted(bulk)}")
    elements = sum(number * bulk[symbol] for symbol, number in counts.items())
    return (energy - elements) / counts.total()


def bulk_energy(symbol: str, calculator: ReferenceCalculator) -> float:
    """Compute the energy of an element's reference crystal in eV/atom.

    Args:
        symbol: the element.
        calculator: the reference calculator.

    Returns:
        The lowest energy that :func:`relaxed_bulk` finds, per atom.
    """
    atoms, energy = relaxed_bulk(symbol, calculator)
    return energy / len(atoms)


def relaxed_bulk(symbol: str, calculator: ReferenceCalculator) -> tuple[Atoms, float]:
    """Relax the reference crystal of an element.

    The crystal is the one in ASE's table (W. M. Haynes et al., CRC Handbook), or for H, N, O and F
    a molecule of two atoms. Its cell or bond is scaled to the lowest energy; for crystals that are
    not cubic, c/a and volume are varied in turn.

    Args:
        symbol: the element.
        calculator: the reference calculator.

    Returns:
        The crystal or molecule, and its energy in eV.

    Raises:
        ValueError: if ASE can't build the crystal, or the calculator can't compute it.
    """
    start = _reference(symbol)
    periodic = bool(start.pbc.all())
    strain = np.zeros(2)
    directions = [np.array([1.0, 0.0])]
    if periodic and start.info["symmetry"] not in {"fcc", "bcc", "diamond", "sc", "cubic"}:
        # First the volume, then c/a at this volume, then the volume again.
        directions += [np.array([0.0, 1.0]), directions[0]]
    try:
        ready = calculator.for_bulk(start) if periodic else calculator.for_cluster(start)
        # A repeated cell has the energy of several.
        fraction = len(start) / len(ready)
        origin = ready.copy()

        def energy(strain: np.ndarray) -> float:
            _stretch(ready, origin, strain, periodic)
            return float(ready.get_potential_energy()) * fraction

        for direction in directions:
            strain, lowest = _lowest(energy, strain, direction)
    # Calculators raise different exceptions for elements that they do not know.
    except Exception as error:
        raise ValueError(
            f"expected an element that {calculator.name} can compute the bulk of, got {symbol} "
            f"({type(error).__name__}: {error})"
        ) from error
    crystal = start.copy()
    _stretch(crystal, start, strain, periodic)
    return crystal, lowest


def _lowest(
    energy: Callable[[np.ndarray], float], start: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, float]:
    """Minimise the energy along a direction by Brent's method; return the strain and the energy."""
    from scipy.optimize import minimize_scalar

    # One percent brackets most minima, and SciPy extends the bracket downhill where it does not.
    # The variable is 1 at the start, as the tolerance is relative.
    found = minimize_scalar(
        lambda scale: energy(start + (scale - 1.0) * direction),
        bracket=(1.0, 1.01),
        method="brent",
        options={"xtol": STRAIN_TOLERANCE},
    )
    return start + (found.x - 1.0) * direction, float(found.fun)


def _stretch(atoms: Atoms, origin: Atoms, strain: np.ndarray, periodic: bool) -> None:
    """Scale all lengths of ``origin``, and c/a at constant volume; the box of a molecule stays."""
    size, shape = strain
    factors = np.exp([size - shape / 2.0, size - shape / 2.0, size + shape])
    if periodic:
        atoms.set_cell(origin.cell.array * factors, scale_atoms=False)
    atoms.set_positions(origin.positions * factors)


def _reference(symbol: str) -> Atoms:
    """Build the reference crystal or molecule of an element, with its symmetry in ``info``."""
    from ase.build import bulk
    from ase.data import atomic_numbers, reference_states

    if symbol not in atomic_numbers:
        raise ValueError(f"expected the symbol of an element, got {symbol!r}")
    state = reference_states[atomic_numbers[symbol]] or {}
    if state.get("symmetry") == "diatom":
        return Atoms(f"{symbol}2", [[0.0, 0.0, 0.0], [0.0, 0.0, state["d"]]])
    try:
        crystal = bulk(symbol)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected an element whose crystal ASE can build, or its energy, got {symbol}"
        ) from error
    crystal.info["symmetry"] = state["symmetry"]
    return crystal
