"""Generators: fingerprints that structures with a wanted property may have."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.models.config import TrainConfig
from jaxrecon.models.cvae import Autoencoder
from jaxrecon.models.flow import Velocity
from jaxrecon.models.scaling import Scaling

NETWORKS: dict[str, type[Autoencoder] | type[Velocity]] = {"cvae": Autoencoder, "flow": Velocity}


def network_of(config: TrainConfig, size: int) -> Autoencoder | Velocity:
    """The network that the settings ask for, of fingerprints of some scaled size."""
    return NETWORKS[config.generator].of(config, size)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Generator:
    """A fitted network and the units of what goes in and comes out: a pytree.

    Attributes:
        network: what draws scaled fingerprints.
        weights: of it.
        scaling: of fingerprints.
        centre: mean of the property in the training rows, in its unit.
        width: its standard deviation.
    """

    network: Autoencoder | Velocity = field(metadata={"static": True})
    weights: dict[str, Any]
    scaling: Scaling
    centre: Float[np.ndarray | Array, ""]
    width: Float[np.ndarray | Array, ""]

    def sample(self, key: PRNGKeyArray, value: Float[Array, ""]) -> Float[Array, " p"]:
        """A fingerprint for a value of the property, in its unit."""
        centre = jnp.asarray(self.centre, value.dtype)
        width = jnp.asarray(self.width, value.dtype)
        return self.scaling.backward(self.network.draw(self.weights, key, (value - centre) / width))
