"""Devices: use every core of a machine without an accelerator, and compile only once."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path

import jax
from jaxlib.version import __version__ as jaxlib_version


def use_all_cores() -> int:
    """Make each CPU core a device of its own, with its widest vectors: replicas spread over all.

    XLA compiles for vectors of 256 bits even where a processor has 512 (AVX-512): told to use them
    it takes half the time for G2. To be called before JAX computes anything. Left alone are what
    is set already (``jax_num_cpu_devices`` or ``XLA_FLAGS``) and a machine with an accelerator.
    The command line calls it; a script or notebook may.

    Returns:
        The number of local devices.

    >>> use_all_cores() >= 1
    True
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_prefer_vector_width" not in flags and "avx512f" in _abilities():
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_prefer_vector_width=512".strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    chosen = "xla_force_host_platform_device_count" in flags
    if not chosen and getattr(jax.config, "jax_num_cpu_devices", -1) < 1:
        # RuntimeError: JAX has started, and its devices can't be changed any more.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", cores or 1)
    return jax.local_device_count()


def enable_compilation_cache() -> Path | None:
    """Keep compiled programs in the user's cache directory: the next process starts at once.

    A directory that is set already (``jax_compilation_cache_dir``) stays. The command line calls
    it; a script or notebook may. XLA (openxla/xla issue 44565) logs an error about
    ``prefer-no-gather`` for every program that it reads on a CPU: it is not one, and the
    environment variable ``TF_CPP_MIN_LOG_LEVEL=3``, set before jax is imported, hides it.

    Returns:
        The directory, under ``$XDG_CACHE_HOME`` or ``~/.cache``; None if it can't be written.

    >>> enable_compilation_cache()  # doctest: +SKIP
    PosixPath('/home/me/.cache/jaxrecon/jaxlib-0.10.1-0a1b2c3d')
    """
    chosen = getattr(jax.config, "jax_compilation_cache_dir", None)
    if chosen is not None:
        return Path(chosen)
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        directory = base / "jaxrecon" / f"jaxlib-{jaxlib_version}-{_processor()}"
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    # Without this check every program that can't be stored is a warning.
    if not os.access(directory, os.W_OK | os.X_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    # Even the smallest programs, of which there are several, take longer to compile than to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return directory


def memory_of(device: jax.Device) -> int | None:
    """Bytes that a device has of its own; None of one that shares those of the machine."""
    return (device.memory_stats() or {}).get("bytes_limit")


def _processor() -> str:
    """A short name for what the processor can do.

    Compiled programs use all of it, and machines of different kinds may share a home directory:
    one that reads a better one's programs dies of an illegal instruction.
    """
    described = platform.machine() + platform.processor() + _abilities()
    return hashlib.sha256(described.encode()).hexdigest()[:8]


def _abilities() -> str:
    """The instruction sets of the processor, as Linux lists them; elsewhere nothing."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return ""
