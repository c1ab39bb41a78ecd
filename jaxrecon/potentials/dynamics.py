"""Molecular dynamics of many trajectories at once, by any potential in JAX."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from ase.data import atomic_masses
from jaxtyping import Array, Bool, Float, Key

from jaxrecon.numerics import inverse_3x3, product
from jaxrecon.potentials.potential import Potential, Prediction, kept_with_potential
from jaxrecon.structures.neighbors import mixing
from jaxrecon.structures.structure import Bounds, Structure

GROWTH, TRIES = 1.5, 4
"""Factor by which sizes grow when atoms outgrow them, and how often they may."""


class Ensemble(NamedTuple):
    """Trajectories of structures with the same number of atoms, side by side.

    Attributes:
        structures: a batch of crystals; positions and cells in Angstrom.
        state: state of jax-md's integrator; None before the first step.
        prediction: energies and forces at these positions; None before the first step.
    """

    structures: Structure
    state: Any = None
    prediction: Prediction | None = None


class Langevin:
    r"""Molecular dynamics at a temperature that may change, by jax-md's Langevin integrator.

    Source of the integrator (BAOAB): Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013);
    Davidchack, Ouldridge and Tretyakov, J. Chem. Phys. 142, 144114 (2015).

    Args:
        potential: the potential.
        timestep: in fs.
        friction: in 1/fs.

    >>> from ase.build import bulk
    >>> from jaxrecon.potentials.single_points import bounds_for
    >>> from jaxrecon.potentials.tersoff import Tersoff
    >>> from jaxrecon.structures.structure import padded
    >>> potential, diamond = Tersoff().restricted(["C"]), bulk("C", cubic=True)
    >>> with jax.enable_x64(True):
    ...     start = padded([diamond] * 2, 8, bounds_for([diamond], 2.5, 8))
    ...     keys = jax.random.split(jax.random.key(0), 2)
    ...     found = Langevin(potential).run(Ensemble(start), keys, 5, (300.0, 300.0))
    >>> found.prediction.energies.shape
    (2, 8)
    """

    def __init__(
        self, potential: Potential, *, timestep: float = 1.0, friction: float = 0.01
    ) -> None:
        self.potential = potential
        self.timestep, self.friction = timestep * units.fs, friction / units.fs

    def run(
        self,
        ensemble: Ensemble,
        keys: Key[Array, " b"],
        steps: int,
        kelvin: tuple[float | Float[np.ndarray, " b"], float | Float[np.ndarray, " b"]],
    ) -> Ensemble:
        """Make some steps, in one compiled program, which later calls of as many use again.

        Where atoms outgrow the bounds of the structures, larger ones are taken and the steps are
        made again.

        Args:
            ensemble: where the trajectories are.
            keys: a random key for each trajectory; used where these begin.
            steps: number of steps.
            kelvin: temperatures at the beginning and at the end, for each trajectory or for all.

        Returns:
            Where the trajectories are then. A trajectory that has exploded is not finite.

        Raises:
            ValueError: if larger and larger bounds do not hold the atoms, or the potential lacks an
                element.
        """
        self.potential.check_structure(ensemble.structures)
        count, _, _ = ensemble.structures.positions.shape
        dtype = ensemble.structures.positions.dtype
        first, last = (
            jnp.broadcast_to(jnp.asarray(value, dtype) * units.kB, count) for value in kelvin
        )
        for _ in range(TRIES):
            begin, advance = _programs(self.potential, self.timestep, self.friction, steps)
            parameters, structures = self.potential.parameters, ensemble.structures
            state = ensemble.state
            if state is None:
                state = begin(parameters, structures, keys, first)
            moved, state, prediction, overflow = advance(parameters, structures, state, first, last)
            if not np.asarray(overflow).any():
                return Ensemble(moved, state, prediction)
            ensemble = ensemble._replace(
                structures=replace(structures, bounds=_larger(structures.bounds))
            )
        raise ValueError(f"expected bounds that hold moving atoms, got {structures.bounds}")


def _larger(bounds: Bounds | None) -> Bounds:
    """Bounds with room for more neighbours."""
    assert bounds is not None
    return replace(bounds, capacity=int(GROWTH * bounds.capacity) + 1)


@kept_with_potential(16)
def _programs(
    potential: Potential, timestep: float, friction: float, steps: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Programs that begin trajectories, and that make some steps of them."""
    with mixing():
        from jax_md.simulate import nvt_langevin

    def forces(positions: Array, *, structure: Structure, parameters: Any, **_: Any) -> Array:
        return potential.predict(replace(structure, positions=positions), parameters).forces

    def shift(positions: Array, change: Array, **_: Any) -> Array:
        return positions + change

    start, step = nvt_langevin(forces, shift, timestep, 0.0, friction)

    def begin(parameters: Any, structure: Structure, key: Array, first: Array) -> Any:
        masses = jnp.asarray(atomic_masses, structure.positions.dtype)[structure.species]
        keywords = {"structure": structure, "parameters": parameters}
        return start(key, structure.positions, mass=masses, kT=first, **keywords)

    def advance(
        parameters: Any, structure: Structure, state: Any, first: Array, last: Array
    ) -> tuple[Structure, Any, Prediction, Bool[Array, ""]]:
        def one(carry: tuple[Any, Array], part: Array) -> tuple[tuple[Any, Array], None]:
            state, overflow = carry
            kT = first + (last - first) * part
            state = step(state, kT=kT, structure=structure, parameters=parameters)
            moved = replace(structure, positions=state.position)
            # The same neighbours as those of the forces: they are found once.
            return (state, overflow | potential.environments(moved).overflow), None

        parts = jnp.linspace(0.0, 1.0, steps, dtype=first.dtype)
        (state, overflow), _ = jax.lax.scan(one, (state, jnp.asarray(False)), parts)
        # Atoms return to the cell, as large coordinates would lose digits.
        cell = structure.cell
        assert cell is not None
        whole = jnp.floor(product(state.position, inverse_3x3(cell)))
        position = state.position - product(whole, cell)
        moved = replace(structure, positions=position)
        prediction = potential.predict(moved, parameters)
        return moved, state.set(position=position), prediction, overflow

    def over_trajectories(function: Callable[..., Any]) -> Callable[..., Any]:
        def every(parameters: Any, *batched: Any) -> Any:
            with mixing():
                return jax.vmap(lambda *one: function(parameters, *one))(*batched)

        return jax.jit(every)

    return over_trajectories(begin), over_trajectories(advance)
