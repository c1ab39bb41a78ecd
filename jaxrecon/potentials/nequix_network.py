r"""The network of Nequix with a convolution that sums over neighbours as it multiplies.

A layer sends to atom i from each neighbour k the products of its features :math:`x` with the
spherical harmonics Y of the vector between them, by Clebsch-Gordan coefficients C, and weighs each
product by a function R of the distance:

.. math:: y^{l_3}_{i u m_3} = \sum_k R_u(r_{ik}) \sum_{m_1} x^{l_1}_{k u m_1} Z_{ik m_1 m_3},
          \qquad Z_{ik m_1 m_3} = \sum_{m_2} C_{m_1 m_2 m_3} Y_{l_2 m_2}(r_{ik})

for each channel u and each allowed :math:`(l_1, l_2, l_3)`. The package ``nequix`` writes all
products of all pairs to memory and then adds them up. Here Z, which is the same in all layers, is
computed once, and the sums over k and :math:`m_1` are one product of matrices for each atom. All
else, and all weights, are those of the package.

Source: Koker, Kotak and Smidt, arXiv 2508.16067.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.numerics import einsum

FEW = 40
"""Up to so many atoms, features of neighbours are picked by a product of matrices.

Its derivative is another product, whereas that of indexing adds up numbers one after the other.
"""


class Path(NamedTuple):
    """One kind of product in a layer.

    Attributes:
        block: index of the block of input features with the degree :attr:`first`.
        first: degree of the features.
        second: degree of the spherical harmonics.
        result: degree of the product.
        channels: where its channels begin and end among the radial weights.
    """

    block: int
    first: int
    second: int
    result: int
    channels: slice


def network_energies(
    model: Any,
    vectors: Float[Array, "n m 3"],
    species: Int[Array, " n"],
    source: Int[Array, "n m"],
) -> Float[Array, " n"]:
    """Compute the energies of atoms by a network.

    Args:
        model: a network of the package ``nequix``.
        vectors: vectors from atoms to their neighbours in Angstrom, none of length 0; those beyond
            the cutoff don't count.
        species: index of the element of each atom.
        source: index of the atom of which each neighbour is an image.

    Returns:
        The energies in eV.
    """
    import e3nn_jax as e3nn
    from nequix.model import bessel_basis, polynomial_cutoff

    # Functions of the vectors are the same in all layers.
    distances = jnp.sqrt(jnp.sum(vectors**2, axis=-1)).ravel()
    decay = polynomial_cutoff(distances, model.cutoff, model.radial_polynomial_p)
    basis = bessel_basis(distances, model.radial_basis_size, model.cutoff) * decay[:, None]
    harmonics = e3nn.spherical_harmonics(
        e3nn.s2_irreps(model.lmax), vectors, normalize=True, normalization="component"
    ).array
    coupled: dict[tuple[int, int, int], Array] = {}
    features = e3nn.IrrepsArray(
        f"{model.n_species}x0e", jax.nn.one_hot(species, model.n_species, dtype=vectors.dtype)
    )
    for layer in model.layers:
        messages = layer.linear_1(features)
        weights = layer.radial_mlp(basis).reshape(*source.shape, -1)
        paths = paths_of(messages.irreps, layer.output_irreps, model.lmax)
        for path in paths:
            degrees = path.first, path.second, path.result
            if degrees not in coupled:
                coupled[degrees] = _coupled(harmonics, *degrees)
        summed = _convolution(messages, source, weights, paths, coupled)
        summed = summed / jnp.sqrt(layer.avg_n_neighbors)
        skipped = layer.skip(species, features) if layer.index_weights else layer.skip(features)
        features = layer.linear_2(summed) + skipped
        if layer.layer_norm is not None:
            features = layer.layer_norm(features)
        features = e3nn.gate(
            features, even_act=jax.nn.silu, odd_act=jax.nn.tanh, even_gate_act=jax.nn.silu
        )
    energies = model.readout(features).array[:, 0] * model.scale + model.shift
    return energies + model.atom_energies[species]


@lru_cache(maxsize=16)
def paths_of(inputs: Any, outputs: Any, l_max: int) -> tuple[Path, ...]:
    """List the products of a layer in the order of its radial weights.

    Args:
        inputs: irreducible representations of the features, of natural parity.
        outputs: those that products may have.
        l_max: largest degree of the spherical harmonics.

    Returns:
        The products by their degree; within a degree by that of the features, then the harmonics.
    """
    found = []
    for block, (channels, input_) in enumerate(inputs):
        for second in range(l_max + 1):
            for result in range(abs(input_.l - second), input_.l + second + 1):
                # Only products of natural parity are kept, which features have as well.
                if (input_.l + second + result) % 2 == 0 and any(
                    result == output.l for _, output in outputs
                ):
                    found.append((result, block, input_.l, second, channels))
    paths, start = [], 0
    for result, block, first, second, channels in sorted(found, key=lambda path: path[0]):
        paths.append(Path(block, first, second, result, slice(start, start + channels)))
        start += channels
    return tuple(paths)


def _coupled(
    harmonics: Float[Array, "n m k"], first: int, second: int, result: int
) -> Float[Array, "n m a c"]:
    """Spherical harmonics of one degree times Clebsch-Gordan coefficients."""
    import e3nn_jax as e3nn

    with jax.ensure_compile_time_eval():
        table = np.asarray(e3nn.clebsch_gordan(first, second, result))
    coefficients = jnp.asarray(table * np.sqrt(2 * result + 1), harmonics.dtype)
    return einsum("nmb,abc->nmac", harmonics[..., second**2 : (second + 1) ** 2], coefficients)


def _convolution(
    messages: Any,
    source: Int[Array, "n m"],
    weights: Float[Array, "n m w"],
    paths: tuple[Path, ...],
    coupled: dict[tuple[int, int, int], Array],
) -> Any:
    """The weighted products with the messages of all neighbours, summed over these."""
    import e3nn_jax as e3nn

    atoms = len(source)
    if atoms <= FEW:
        picked = einsum(
            "nma,af->nmf", jax.nn.one_hot(source, atoms, dtype=weights.dtype), messages.array
        )
    else:
        picked = messages.array[source]
    # Channels go last, where they are contiguous.
    blocks, start = [], 0
    for channels, irrep in messages.irreps:
        block = picked[..., start : start + channels * irrep.dim]
        blocks.append(jnp.swapaxes(block.reshape(*source.shape, channels, irrep.dim), -1, -2))
        start += channels * irrep.dim
    found = []
    for path in paths:
        weighed = weights[:, :, None, path.channels] * blocks[path.block]
        turn = coupled[path.first, path.second, path.result]
        found.append(jnp.swapaxes(einsum("nmau,nmac->ncu", weighed, turn), 1, 2))
    irreps = [
        (product.shape[1], e3nn.Irrep(path.result, (-1) ** path.result))
        for path, product in zip(paths, found, strict=True)
    ]
    return e3nn.from_chunks(irreps, found, (atoms,), weights.dtype).regroup()
