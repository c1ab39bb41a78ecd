r"""Sums over pairs of neighbours as products of moments of their density.

For a whole exponent :math:`\zeta` the angular factor is a polynomial of the components of two
directions, and so a sum of products of monomials, with the multi-indices
:math:`\alpha = (\alpha_x, \alpha_y, \alpha_z)` of degrees :math:`|\alpha| \le \zeta`:

.. math::
    (1 + \lambda\, \hat d_j \cdot \hat d_k)^\zeta
    = \sum_\alpha \binom{\zeta}{|\alpha|} \frac{|\alpha|!}{\alpha_x! \alpha_y! \alpha_z!}
    \lambda^{|\alpha|}\, \hat d_j^\alpha\, \hat d_k^\alpha .

A sum over all pairs of neighbours is then a sum of products of two sums over neighbours, the
moments :math:`\sum_j u(r_j)\, \hat d_j^\alpha` of the density of each channel. Its cost is
proportional to the number of neighbours, not to its square; all exponents, both signs of the cosine
and all pairs of channels share the moments. (On a sphere the monomials of degrees up to
:math:`\zeta` depend on each other: there are :math:`(\zeta + 1)^2` spherical harmonics. Up to
:math:`\zeta = 4` that saves less than harmonics take to compute and to compile.)
"""

import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.descriptors.acsf.angular import Angular, pair_totals, radial_factors
from jaxrecon.descriptors.environment import Environment
from jaxrecon.numerics import einsum


def values(functions: Angular, env: Environment) -> Float[Array, "c f"]:
    """Compute every function for every unordered pair of channels, without a unit.

    Args:
        functions: functions G5 with whole exponents.
        env: the environment.

    Returns:
        The values.
    """
    radial, _ = radial_factors(functions, env)
    terms = radial[:, None, :] * env.channel.T[None]
    degree = int(max(functions.zeta))
    weights = jnp.asarray(_weights(functions, 0), terms.dtype)
    moments = einsum("qj,esj->esq", monomials(degree, env.direction.T), terms)
    totals = einsum("aesq,etq->aest", weights[:, None, None] * moments[None], moments)
    own = einsum("aj,esj->aes", _with_itself(functions, 0, env), terms**2)
    # Where a channel has a single neighbour, round-off must not make its pairs negative.
    return jnp.maximum(pair_totals(totals, own), 0.0)


def sums(
    functions: Angular, env: Environment, columns: Float[Array, "m y"]
) -> Float[Array, "a m y"]:
    r"""Multiply columns of numbers of neighbours with a matrix of angular factors.

    Args:
        functions: functions G5 with whole exponents.
        env: the environment.
        columns: numbers of each neighbour k.

    Returns:
        For each angular factor and neighbour j the sums over all other neighbours k of the columns
        times :math:`2^{1-\zeta} (1 + \lambda \cos\theta_{jk})^{\zeta-1}`.
    """
    basis = monomials(int(max(functions.zeta)) - 1, env.direction.T)
    weights = jnp.asarray(_weights(functions, 1), columns.dtype)
    moments = weights[:, :, None] * einsum("qj,jy->qy", basis, columns)[None]
    own = _with_itself(functions, 1, env)[..., None] * columns[None]
    return einsum("qj,aqy->ajy", basis, moments) - own


def monomials(degree: int, direction: Float[Array, "3 m"]) -> Float[Array, "q m"]:
    """Compute all monomials of the components of vectors up to a degree.

    Args:
        degree: the largest degree.
        direction: the components along the first axis.

    Returns:
        The monomials, by degree.
    """
    powers = [jnp.ones_like(direction)]
    for _ in range(degree):
        powers.append(powers[-1] * direction)
    x, y, z = _exponents(degree).T
    table = jnp.stack(powers)
    return table[x, 0] * table[y, 1] * table[z, 2]


@lru_cache
def _exponents(degree: int) -> np.ndarray:
    """The exponents of x, y and z in each monomial."""
    return np.asarray(
        [
            (x, y, total - x - y)
            for total in range(degree + 1)
            for x in range(total, -1, -1)
            for y in range(total - x, -1, -1)
        ]
    )


@lru_cache
def _weights(functions: Angular, less: int) -> np.ndarray:
    """The factor of each monomial in each angular factor, of a power that is less than zeta."""
    powers = [(int(zeta) - less, lam) for zeta, lam in functions.angles]
    rows = []
    for (power, lam), (zeta, _) in zip(powers, functions.angles, strict=True):
        row = []
        for each in _exponents(max(power for power, _ in powers)):
            total = int(sum(each))
            multinomial = math.factorial(total) // math.prod(map(math.factorial, each))
            row.append(2.0 ** (1 - zeta) * math.comb(power, total) * multinomial * lam**total)
        rows.append(row)
    return np.asarray(rows)


def _with_itself(functions: Angular, less: int, env: Environment) -> Float[Array, "a m"]:
    """The angular factors of each neighbour with itself, which the sums over pairs leave out."""
    dtype = env.r.dtype
    powers = [
        (2.0 ** (1 - zeta), 2.0 ** (1 - zeta) * (1.0 + lam) ** (zeta - less))
        for zeta, lam in functions.angles
    ]
    nowhere, same = jnp.asarray(powers, dtype).T[..., None]
    # A neighbour at no distance has the direction zero.
    return jnp.where(env.r[None] > 0, same, nowhere)
