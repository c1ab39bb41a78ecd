"""Use of all CPU cores as devices, and the cache of compiled programs."""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import re
from pathlib import Path

import jax
from jaxlib.version import __version__ as jaxlib_version

from jaxrecon.runtime.messages import reason

CACHED = 2**30
"""Largest size in bytes of the folder of compiled programs, of 0.1 to 1 MB each."""

VARIABLES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
"""Environment variables that name platforms, which are JAX's settings of the same names, too."""

PACKAGES = {
    "cuda": "jax-cuda[0-9]+-plugin",
    "gpu": "jax-cuda[0-9]+-plugin",
    "rocm": "jax-rocm[0-9]+-plugin",
    "tpu": "libtpu",
}
"""Packages that give JAX a platform, as patterns of their names, by the name of the platform."""


def use_all_cores(*, cache: bool = True) -> int:
    """Make each CPU core a device of its own, and keep compiled programs for the next process.

    With devices of their own, replicas spread over all cores.

    It also lets XLA use vectors of 512 bits where the processor has them (AVX-512). By default XLA
    compiles for 256 bits, which takes twice as long for G2. Of the two code generators of jaxlib
    0.10 it takes the older one, whose programs are as fast and compile in two thirds of the time;
    later releases have one alone.

    Call it before JAX computes anything. The command line does; a script or notebook may. It
    changes nothing on a machine with an accelerator, and no setting that was made before
    (``jax_num_cpu_devices``, ``XLA_FLAGS``).

    Args:
        cache: whether compiled programs are kept in files, see :func:`enable_compilation_cache`.

    Returns:
        The number of local devices.

    Raises:
        OSError: if JAX can't start, for instance without the platform that ``JAX_PLATFORMS`` names.

    >>> use_all_cores() >= 1
    True
    """
    if cache:
        enable_compilation_cache()
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_prefer_vector_width" not in flags and "avx512f" in _instruction_sets():
        flags = f"{flags} --xla_cpu_prefer_vector_width=512"
    if "xla_cpu_use_fusion_emitters" not in flags and jaxlib_version.startswith("0.10."):
        flags = f"{flags} --xla_cpu_use_fusion_emitters=false"
    if flags.strip() != os.environ.get("XLA_FLAGS", "").strip():
        os.environ["XLA_FLAGS"] = flags.strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    chosen = "xla_force_host_platform_device_count" in flags
    if not chosen and getattr(jax.config, "jax_num_cpu_devices", -1) < 1:
        # A RuntimeError means that JAX has started: its devices can't be changed any more.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", cores or 1)
    return device_count()


def device_count() -> int:
    """The number of local devices.

    Raises:
        OSError: if JAX can't start; the message says what to install or to change.
    """
    try:
        return jax.local_device_count()
    # A missing platform raises a RuntimeError, or an AssertionError without a text.
    except Exception as error:
        for variable in VARIABLES:
            if platforms := getattr(jax.config, variable.lower(), None):
                lack = _lack(variable, platforms, error)
                raise OSError(
                    f"expected JAX to start with {variable}={platforms}, {lack}"
                ) from error
        raise OSError(f"expected JAX to start, got {reason(error)}") from error


def _lack(variable: str, platforms: str, error: Exception) -> str:
    """Why JAX has none of the platforms that a variable names, and what to do about it."""
    names = [name.strip() for name in platforms.lower().split(",")]
    known = ("cpu", *PACKAGES)
    if not set(names) <= set(known):
        return f"which is none of {', '.join(known)}: unset {variable} for what JAX finds"
    name = next((name for name in names if name in PACKAGES), None)
    if name is None:
        return f"got {reason(error)}"
    packages = [
        str(package.name).lower().replace("_", "-")
        for package in importlib.metadata.distributions()
    ]
    if not any(re.fullmatch(PACKAGES[name], package) for package in packages):
        extras = importlib.metadata.metadata("jax").get_all("Provides-Extra") or []
        kind = "cuda" if name == "gpu" else name
        extra = next((extra for extra in extras if re.fullmatch(f"{kind}[0-9]+.*", extra)), kind)
        install = f'pip install "jax[{extra}]"'
        return f"which is not installed: {install}, or unset {variable} for the CPU"
    return (
        f"got no such device ({reason(error)}): check the driver (nvidia-smi) and "
        f"CUDA_VISIBLE_DEVICES, or unset {variable} for the CPU"
    )


def enable_compilation_cache() -> Path | None:
    """Store compiled programs in the user's cache directory, for the next process.

    :func:`use_all_cores` calls it. A directory that was set before (``jax_compilation_cache_dir``)
    stays. Several processes may use it at once. It holds up to :data:`CACHED`, beyond which the
    oldest programs go; it can be deleted at any time. On a CPU, XLA logs an error about
    ``prefer-no-gather`` for every program that it reads from the cache (openxla/xla issue 44565).
    It does no harm, and is hidden where jaxrecon is imported before jax.

    Returns:
        The directory, under ``$XDG_CACHE_HOME`` or ``~/.cache``; None if it is not writable.

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
    # Without this check JAX warns about every program that it can't store.
    if not os.access(directory, os.W_OK | os.X_OK):
        return None
    prune(base / "jaxrecon", CACHED)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    # Even the smallest programs take longer to compile than to read, and there are several.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return directory


def prune(directory: Path, most: int) -> None:
    """Delete the oldest files of a folder until it holds no more than some bytes.

    Args:
        directory: the folder, with folders in it. Other processes may write and prune it too.
        most: number of bytes.
    """
    files = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            # Another process may have deleted it since.
            with contextlib.suppress(OSError):
                known = os.stat(path)
                files.append((known.st_mtime, known.st_size, path))
    excess = sum(size for _, size, _ in files) - most
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
        excess -= size


def memory_of(device: jax.Device) -> int | None:
    """Memory of a device in bytes; None for a device that uses the memory of the machine."""
    return (device.memory_stats() or {}).get("bytes_limit")


def _processor() -> str:
    """A short name for the instruction sets of the processor.

    Compiled programs use all of them, and machines with different processors may use one home
    directory: a program that was compiled for another processor may crash with an illegal
    instruction.
    """
    described = platform.machine() + platform.processor() + _instruction_sets()
    return hashlib.sha256(described.encode()).hexdigest()[:8]


def _instruction_sets() -> str:
    """The instruction sets of the processor, as Linux lists them; an empty text elsewhere."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return ""
