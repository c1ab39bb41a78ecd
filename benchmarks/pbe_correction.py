"""What a potential is off PBE: a line in its energy, and a Gaussian process for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

from jaxrecon import Fingerprint, featurize
from jaxrecon.models.examples import Examples, fingerprint_jacobians
from jaxrecon.models.surrogates.gaussian_process import GaussianProcess
from jaxrecon.plotting.energies import agreement

FOLDS = 10
RANGES = np.arange(1.6, 4.81, 0.4)
"""Of energies in eV/atom in which errors are averaged."""

FINGERPRINT = Fingerprint.preset("bonds", ["Pt"])
"""In which energies are smooth."""

TOGETHER = 500
"""Structures whose fingerprints are differentiated at once, to save memory."""


def smooth(structures: Sequence[Atoms]) -> np.ndarray:
    """Fingerprints of structures, in float64."""
    return featurize(structures, FINGERPRINT).astype(np.float64)


@dataclass(frozen=True)
class Known:
    """Structures that both have judged: formation energies in eV/atom, forces in eV/Angstrom.

    Attributes:
        structures: with the energies and forces of the potential.
        values: their fingerprints.
        potential: energies of the potential.
        pbe: energies of PBE.
        pbe_forces: forces of PBE, one row of numbers a structure.
        trajectories: of structures that are alike.
    """

    structures: list[Atoms]
    values: np.ndarray
    potential: np.ndarray
    pbe: np.ndarray
    pbe_forces: np.ndarray
    trajectories: np.ndarray

    def select(self, rows: np.ndarray) -> "Known":
        """Some of them."""
        return Known(
            [self.structures[row] for row in rows],
            *(each[rows] for each in (self.values, self.potential, self.pbe, self.pbe_forces)),
            self.trajectories[rows],
        )


@dataclass(frozen=True)
class Correction:
    """Energies of a potential to those of PBE: e = slope * potential + offset + rest(fingerprint).

    Attributes:
        slope: of the line.
        offset: of the line, in eV/atom.
        rest: the Gaussian process; None for the line alone.
    """

    slope: float
    offset: float
    rest: GaussianProcess | None

    @classmethod
    def fit(cls, known: Known, *, process: bool) -> "Correction":
        """Fit the line to energies, the process to what is left of energies and forces."""
        slope, offset = np.polyfit(known.potential, known.pbe, 1)
        line = cls(float(slope), float(offset), None)
        if not process:
            return line
        left = known.pbe - line.energies(known.values, known.potential)[0]
        forces = known.pbe_forces - line.forces(known.structures, known.values)
        rest = GaussianProcess.fit(
            Examples.of(
                FINGERPRINT,
                known.values,
                left,
                structures=known.structures,
                gradients=-forces / len(known.structures[0]),
            )
        )
        return replace(line, rest=rest)

    def energies(self, values: np.ndarray, potential: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Formation energies and their standard deviations, in eV/atom."""
        line = self.slope * potential + self.offset
        if self.rest is None:
            return line, np.zeros(len(line))
        with jax.enable_x64(True):
            more, spread = _predicted(self.rest, jnp.asarray(values))
        return line + np.asarray(more), np.asarray(spread)

    def forces(self, structures: Sequence[Atoms], values: np.ndarray) -> np.ndarray:
        """The forces that go with the energies, in eV/Angstrom: one row of numbers a structure."""
        forces = self.slope * np.array([atoms.get_forces().ravel() for atoms in structures])
        if self.rest is None:
            return forces
        with jax.enable_x64(True):
            steep = np.asarray(_steepness(self.rest, jnp.asarray(values)))
        for first in range(0, len(forces), TOGETHER):
            some = slice(first, first + TOGETHER)
            by_positions = fingerprint_jacobians(structures[some], FINGERPRINT)
            forces[some] -= len(structures[0]) * np.einsum("np,npx->nx", steep[some], by_positions)
        return forces


@jax.jit
def _predicted(rest: GaussianProcess, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.lax.map(rest, values, batch_size=64)


@jax.jit
def _steepness(rest: GaussianProcess, values: jax.Array) -> jax.Array:
    return jax.lax.map(jax.grad(lambda row: rest(row)[0]), values, batch_size=64)


def calibration(known: Known) -> dict[str, Any]:
    """Errors of the potential as it is and corrected, in all and by range of energy; printed.

    What is corrected is judged on tenths of the trajectories that the correction has not seen.
    """
    own = np.array([atoms.get_forces().ravel() for atoms in known.structures])
    estimates = {
        "potential": (known.potential, own),
        "line": _left_out(known, process=False),
        "line and process": _left_out(known, process=True),
    }
    report: dict[str, Any] = {}
    for name, (energies, forces) in estimates.items():
        error = energies - known.pbe
        ranges = [each._asdict() for each in agreement(energies, known.pbe, RANGES)]
        report[name] = {
            "mae": float(np.abs(error).mean()),
            "bias": float(error.mean()),
            "forces_rms": float(np.sqrt(np.mean((forces - known.pbe_forces) ** 2))),
            "ranges": ranges,
        }
        biases = ", ".join(
            f"{each['low']:.1f}-{each['high']:.1f}: {each['bias']:+.3f} ({each['structures']})"
            for each in ranges
        )
        print(
            f"{name}: MAE {report[name]['mae']:.3f}, bias {error.mean():+.3f} eV/atom; {biases}; "
            f"forces {report[name]['forces_rms']:.3f} eV/Angstrom (root mean square)"
        )
    return report


def _left_out(known: Known, *, process: bool) -> tuple[np.ndarray, np.ndarray]:
    names, member = np.unique(known.trajectories, return_inverse=True)
    folds = np.random.default_rng(0).permutation(len(names))[member] % FOLDS
    energies, forces = np.empty(len(known.pbe)), np.empty_like(known.pbe_forces)
    for fold in range(FOLDS):
        test = known.select(np.flatnonzero(folds == fold))
        fit = Correction.fit(known.select(np.flatnonzero(folds != fold)), process=process)
        energies[folds == fold] = fit.energies(test.values, test.potential)[0]
        forces[folds == fold] = fit.forces(test.structures, test.values)
    return energies, forces
