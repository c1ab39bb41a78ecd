"""Nequix: a universal equivariant graph network potential, read by the package ``nequix``."""

import importlib
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float

from jaxrecon.numerics import COINCIDENT
from jaxrecon.potentials.nequix_network import network_energies
from jaxrecon.potentials.potential import Potential, element_indices
from jaxrecon.structures.neighbors import Neighbors

BEYOND = 2.0
"""Distance of padding in units of the cutoff: beyond it, messages are exactly zero."""


class Nequix(Potential):
    """A Nequix network: messages along the vectors to neighbours, equivariant under rotations.

    The energies of the atoms are the last output of the network. It is trained in float32.

    Sources: Koker, Kotak and Smidt, arXiv 2508.16067; Koker et al., arXiv 2601.07742.

    Args:
        model: a model of the package ``nequix``, made without kernels.
        atomic_numbers: the elements that it knows, in its order.
    """

    dtype = np.float32

    def __init__(self, model: Any, atomic_numbers: list[int]) -> None:
        import equinox

        self.elements = tuple(chemical_symbols[number] for number in atomic_numbers)
        self.r_cut = float(model.cutoff)
        self.parameters, self._rest = equinox.partition(model, equinox.is_array)
        widths = [layer.tp_irreps.dim for layer in model.layers]
        self._edge_bytes = 12 * sum(widths)

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> "Nequix":
        """Read weights.

        Args:
            path: a file ending in ``.nqx``.

        Raises:
            ValueError: if it has no weights of such a network.
            FileNotFoundError: if there is no such file.
        """
        import_package()
        try:
            # The first line has the settings of the network; the rest are its arrays.
            with open(path, "rb") as file, _as_trained(), jax.enable_x64(False):
                config = json.loads(file.readline(2**20))
                return cls(_loaded(config, file), sorted(config["atomic_numbers"]))
        except OSError:
            raise
        # Damaged files raise exceptions of several libraries.
        except Exception as error:
            raise ValueError(
                f"expected the weights of a Nequix network (.nqx), got {path} "
                f"({type(error).__name__})"
            ) from error

    def edge_bytes(self, capacity: int) -> int:
        """Estimate the memory in bytes: the messages of all layers, three times."""
        return self._edge_bytes

    def atomic_energies(self, parameters: Any, neighbors: Neighbors) -> Float[jax.Array, " n"]:
        """Compute the energy of each atom in eV.

        Args:
            parameters: the arrays of the network.
            neighbors: the environments.
        """
        import equinox

        assert neighbors.source is not None
        assert neighbors.center is not None
        # Messages of padding vanish beyond the cutoff; coincident atoms have no direction.
        vectors = neighbors.vectors
        apart = jnp.sum(vectors**2, axis=-1) > COINCIDENT
        aside = jnp.asarray([BEYOND * self.r_cut, 0.0, 0.0], vectors.dtype)
        counts = (neighbors.mask & apart)[..., None]
        vectors = jnp.where(counts, vectors, aside[None, None, :])
        species = jnp.asarray(element_indices(self.elements))[neighbors.center]
        with _as_trained():
            model = equinox.combine(parameters, self._rest)
            energies = network_energies(model, vectors, species, neighbors.source)
        return energies.astype(vectors.dtype)


def import_package() -> None:
    """Import the package, which changes the precision of all products for good: set it back."""
    before = getattr(jax.config, "jax_default_matmul_precision", None)
    with _as_trained():
        importlib.import_module("nequix.model")
    jax.config.update("jax_default_matmul_precision", before)


def _loaded(config: dict[str, Any], arrays: BinaryIO) -> Any:
    """Make the network that a file describes, and read its arrays.

    The loader of the package draws random numbers for all arrays first, which takes seconds.
    """
    import equinox
    from nequix.model import Nequix as Network

    # Settings have the names of arguments. The energies of free atoms are among the arrays.
    named = set(inspect.signature(Network.__init__).parameters) - {"kernel", "atom_energies"}
    settings = {name: config[name] for name in named & set(config)}
    settings["n_species"] = len(config["atomic_numbers"])
    like = equinox.filter_eval_shape(partial(Network, **settings), jax.random.key(0))
    return equinox.tree_deserialise_leaves(arrays, like)


@contextmanager
def _as_trained() -> Iterator[None]:
    """The settings that the package expects: full precision, and types and shapes that mix."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.default_matmul_precision("highest"),
    ):
        yield
