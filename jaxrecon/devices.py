"""Devices: let the search use every core of a machine without an accelerator."""

import contextlib
import os

import jax


def use_all_cores() -> int:
    """Make each CPU core a device of its own, so that replicas spread over all of them.

    To be called before JAX computes anything. Left alone are a count that is set already
    (``jax_num_cpu_devices`` or ``XLA_FLAGS``) and a machine with an accelerator. The command line
    calls it; a script or notebook may.

    Returns:
        The number of local devices.

    >>> use_all_cores() >= 1
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not chosen and getattr(jax.config, "jax_num_cpu_devices", -1) < 1:
        # RuntimeError: JAX has started, and its devices can't be changed any more.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", cores or 1)
    return jax.local_device_count()
