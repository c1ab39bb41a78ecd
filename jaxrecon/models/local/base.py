r"""LocalModel: the interface of all models that give each atom an energy.

.. math:: E = \sum_i \left(E_{z_i} + \epsilon_{z_i}(x_i)\right)

where :math:`x_i` is the row of atom i, z its element, :math:`E_z` the mean energy of an atom of
this element, and :math:`\epsilon` what the model has learned. Such a model serves clusters and
crystals of any size. Source: Gardner, Faure Beaulieu and Deringer, Digital Discovery 2, 651 (2023);
Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Array, Float, Int

from jaxrecon.descriptors.base import Descriptor
from jaxrecon.models.local.config import LocalConfig
from jaxrecon.models.local.environments import Environments
from jaxrecon.potentials.potential import Potential, element_indices
from jaxrecon.runtime.progress import ProgressFn
from jaxrecon.structures.neighbors import Neighbors

Features = Callable[[Float[Array, "n f"], Int[Array, " n"]], Float[Array, "n m"]]
"""The features of rows, given the index of the element of each: a pytree."""


@dataclass(frozen=True, eq=False)
class LocalModel(ABC):
    """A fitted model of local energies.

    To add one, write a frozen dataclass that inherits from this class, register it as a pytree with
    ``jaxrecon.pytrees.register_dataclass``, define :meth:`fit` and :meth:`deviations`, and add a
    line to :data:`jaxrecon.models.registry.LOCAL_MODELS`. The contract test in
    ``tests/test_local_models.py`` runs on every registered model.

    Attributes:
        descriptor: the descriptor of the rows.
        offsets: mean energy of an atom of each element of the descriptor in eV; NaN for elements
            that did not occur in what the model has learned.
        precise: whether energies need float64, because large terms cancel in them.
    """

    precise: ClassVar[bool] = False
    descriptor: Descriptor = field(metadata={"static": True})
    offsets: Float[np.ndarray | Array, " e"]

    @classmethod
    @abstractmethod
    def fit(
        cls,
        environments: Environments,
        config: LocalConfig | None = None,
        *,
        report: ProgressFn = lambda epochs, examples: None,
    ) -> "LocalModel":
        """Fit the model. The same seed and data give the same model.

        Args:
            environments: what to learn from: local energies, totals, and forces where the model
                takes them.
            config: settings; None for the default ones.
            report: called with the epochs and examples done since the last call.

        Returns:
            The fitted model.

        Raises:
            ValueError: if nothing can be learned from the data.
        """

    @abstractmethod
    def deviations(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, " n"]:
        """Compute the energies of atoms without the mean of their element.

        Args:
            rows: rows of the atoms.
            kinds: index of the element of each atom among those of the descriptor.

        Returns:
            The energies in eV, in the precision of the rows.
        """

    def __call__(self, rows: Float[Array, "n f"], kinds: Int[Array, " n"]) -> Float[Array, " n"]:
        """Compute the energies of atoms: a pure function for ``jit``, ``vmap`` and ``grad``.

        Args:
            rows: rows of the atoms.
            kinds: index of the element of each atom among those of the descriptor.

        Returns:
            The energies in eV, in the precision of the rows.
        """
        offsets = jnp.asarray(self.offsets, rows.dtype)
        return offsets[kinds] + self.deviations(rows, kinds)

    def last_features(self) -> Features:
        """The features of which the energies, without the mean of the element, are a linear sum.

        The rigidity of predictions follows from them; see
        :mod:`jaxrecon.models.local.uncertainty`. Their weights have the prior N(0, 1).

        Raises:
            ValueError: if the model has none.
        """
        raise ValueError(
            f"expected a model that is linear in its last weights, got {type(self).__name__}: it "
            "has standard deviations of its own"
        )

    def all_features(self) -> Features:
        """The derivatives of energies by all weights; :meth:`last_features` of a linear model.

        Raises:
            ValueError: as :meth:`last_features`.
        """
        return self.last_features()

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols of the elements that the model has learned, in the order of the descriptor."""
        known = np.isfinite(self.offsets)
        return tuple(np.asarray(self.descriptor.elements)[known].tolist())

    def check(self, environments: Environments) -> None:
        """Check that the model can predict the energies of atoms.

        Args:
            environments: the atoms.

        Raises:
            ValueError: if they have an element that the model has not learned, or rows of another
                descriptor.
        """
        symbols = {chemical_symbols[number] for number in np.unique(environments.species)}
        if lacking := sorted(symbols - set(self.elements)):
            raise ValueError(
                f"expected environments of the elements that the model has learned, "
                f"{', '.join(self.elements)}, got {', '.join(lacking)}"
            )
        environments.check_rows(self.descriptor)

    def predict(self, environments: Environments) -> Float[np.ndarray, " n"]:
        """Predict the energy of every atom, block by block.

        Args:
            environments: the atoms.

        Returns:
            The energies in eV, computed in the precision of the rows, or in float64 if the model
            needs it.

        Raises:
            ValueError: if the atoms have an element that the model has not learned, or rows of
                another descriptor.
        """
        self.check(environments)
        dtype = np.float64 if self.precise else environments.rows.dtype
        # The offsets of all-electron energies are so large that they are added in float64.
        found = [np.zeros(0)]
        with jax.enable_x64(dtype == np.float64):
            for part, *block in environments.blocks(dtype):
                found.append(np.asarray(_predicted(self, *block))[: part.stop - part.start])
        return np.asarray(self.offsets)[environments.kinds] + np.concatenate(found)

    def totals(self, environments: Environments) -> Float[np.ndarray, " s"]:
        """Predict the total energy of every structure in eV.

        Args:
            environments: the atoms of the structures.

        Raises:
            ValueError: as :meth:`predict`.
        """
        count = len(environments.trajectories)
        return np.bincount(environments.owner, self.predict(environments), count)

    def potential(self) -> "LocalPotential":
        """The model as a potential: energies of structures, forces, stress, and calculators.

        It is the same object in each call, as compiled programs belong to it.
        """
        return self._potential

    @cached_property
    def _potential(self) -> "LocalPotential":
        """The potential, made once."""
        return LocalPotential(self)


@jax.jit
def _predicted(model: LocalModel, rows: Array, kinds: Array) -> Array:
    """The energies of a block of atoms, without the mean of their element."""
    return model.deviations(rows, kinds)


class LocalPotential(Potential):
    """A model of local energies as a potential.

    Args:
        model: the fitted model. A kernel needs float64, which is the precision of potentials unless
            another one is asked for, and refuses another one.

    >>> from ase.build import bulk
    >>> from jaxrecon import SOAP
    >>> from jaxrecon.models.local.linear import LinearModel
    >>> from jaxrecon.potentials.single_points import single_points
    >>> soap = SOAP(("Cu",), r_cut=4.0, n_max=3, l_max=2)
    >>> crystals = [bulk("Cu", a=a) for a in (3.5, 3.6, 3.7)]
    >>> data = Environments.of(crystals, soap, totals=[-3.4, -3.5, -3.4])
    >>> found = single_points([crystals[1]], LinearModel.fit(data).potential())
    >>> found[0].forces.shape
    (1, 3)
    """

    def __init__(self, model: LocalModel) -> None:
        self.parameters = model
        self.elements = model.elements
        self.r_cut = model.descriptor.r_cut
        self._descriptor = model.descriptor
        self._kinds = element_indices(model.descriptor.elements)

    def atomic_energies(self, parameters: Any, neighbors: Neighbors) -> Float[Array, " n"]:
        """The energy of each atom in eV; see the base class."""
        assert neighbors.center is not None, "environments of atoms have their elements"
        kinds = jnp.asarray(self._kinds, int)[neighbors.center]
        rows = self._descriptor(neighbors)
        if parameters.precise and rows.dtype != jnp.float64:
            raise ValueError(
                f"expected dtype float64 for the potential of a {type(parameters).__name__}, in "
                f"which large terms cancel, got {rows.dtype}"
            )
        return parameters(rows, kinds)

    def edge_bytes(self, capacity: int) -> int:
        """The memory that the derivatives of a row need for each neighbour; see the base class."""
        return 64 * self._descriptor.size // max(1, len(self.elements))


def offsets_of(environments: Environments) -> Float[np.ndarray, " e"]:
    """Compute the mean energy of an atom of each element in eV.

    Args:
        environments: atoms with local energies, or structures with totals.

    Returns:
        Means of the local energies; or else the energies of least squares, of the least norm where
        compositions do not tell elements apart; 0 for elements that do not occur.

    Raises:
        ValueError: if neither local energies nor totals are known.
    """
    counts = environments.counts
    if environments.energies is not None:
        sums = np.bincount(environments.kinds, environments.energies, counts.shape[1])
        return sums / np.maximum(counts.sum(axis=0), 1.0)
    if environments.totals is None:
        raise ValueError(
            "expected local energies or total energies to learn from, got neither: give energies "
            "or totals of Environments.of"
        )
    return np.linalg.lstsq(counts, environments.totals, rcond=None)[0]


def known_offsets(environments: Environments) -> Float[np.ndarray, " e"]:
    """Compute the mean energies as :func:`offsets_of`, but NaN for elements that do not occur.

    Args:
        environments: atoms with local energies, or structures with totals.

    Returns:
        The energies in eV, as a fitted model has them.

    Raises:
        ValueError: if neither local energies nor totals are known.
    """
    return np.where(environments.counts.any(axis=0), offsets_of(environments), np.nan)
