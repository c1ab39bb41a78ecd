"""All that a GPU is asked, in one command of at most eight minutes.

    python benchmarks/gpu.py --data DIR -o results
    python benchmarks/gpu.py --data DIR -o results --rehearse

Sections, in this order:
    limits      multiply-adds, exponentials and bytes copied in a second, as measured
    precision   errors of float32 against float64, and the residual that polishing in float32
                reaches from near a known structure; 1e-6 is wanted
    kernels     fingerprints, loss and gradient, and Levenberg-Marquardt steps a second of Pt10,
                Pt40, a molecule, SrTiO3 and SOAP of Pt10, in batches of 64 to 65,536; fraction of
                the floor, time to compile, memory beside what a search reckons with
    published   60 s of search for the 300 published fingerprints of Pt10
    molecules   60 s of search for 500 molecules of QM7
    solvers     the package's elimination against batched Cholesky
    loops       overhead of an iteration of a loop
    longest     the ten longest kernels of a hop, and of a polish
    growth      memory of a step from 2 to 4,096 atoms
    compile     time to compile a search, without and with the cache of programs

Batches grow until one fails, would take too long, or would need more memory than there is. Programs
compile side by side, so that each takes longer than alone; "compile" measures that. Every section
catches its own failure and has its own time. gpu.json is written after every figure, so that
nothing is lost when the program is stopped. --only leaves the other sections of gpu.json as they
are; --resume leaves out those that it has without an error. With --rehearse, sizes and times are
small, systems are few and programs are cached: about two minutes on a CPU. A watchdog ends the
program if it takes half a minute more than its time.

DIR has pt10_fps300_x.csv and qm7_500.extxyz. Only the first device is used for single programs.
"""

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

# A GPU's memory is taken as it is needed: parts of this run in processes of their own.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if "--rehearse" in sys.argv:
    # A program compiles in half the time. JAX reads this when it is imported.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import gpu_kernels
import gpu_precision
import gpu_search
import gpu_solvers
import jax
from gpu_run import REHEARSAL, Run, Section, Sizes
from timing import device_name

from jaxrecon.runtime.devices import enable_compilation_cache, memory_of
from jaxrecon.runtime.versions import versions

GRACE = 30.0
"""Seconds beyond its time after which a watchdog ends the program."""

SECTIONS = {
    "limits": Section(gpu_kernels.limits, 0.7),
    "precision": Section(gpu_precision.precision, 0.8),
    "kernels": Section(gpu_kernels.kernels, 2.6),
    "published": Section(partial(gpu_search.search, name="pt10_fps300"), 1.6),
    "molecules": Section(partial(gpu_search.search, name="qm7_500"), 1.7),
    "solvers": Section(gpu_solvers.solvers, 0.4),
    "loops": Section(gpu_solvers.loops, 0.2),
    "longest": Section(gpu_solvers.longest, 0.5),
    "growth": Section(gpu_kernels.growth, 0.5),
    "compile": Section(gpu_solvers.compilation, 0.7),
}
"""By name, in the order in which they run."""


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the published data")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help="only these")
    parser.add_argument("--minutes", type=float, help="wall time; default 8, rehearsal 2")
    parser.add_argument("--batches", type=int, nargs="+", help="ascending numbers of structures")
    parser.add_argument("--rehearse", action="store_true", help="small sizes and short times")
    parser.add_argument("--resume", action="store_true", help="leave out sections that are done")
    parser.add_argument("--revision", help="of the code, where there is no git")
    parser.add_argument("--output", "-o", type=Path, default=Path("results"))
    return parser.parse_args(words)


def sizes_of(arguments: argparse.Namespace) -> Sizes:
    """The sizes that were asked for."""
    sizes = REHEARSAL if arguments.rehearse else Sizes()
    if arguments.minutes is not None:
        sizes = sizes._replace(minutes=arguments.minutes)
    if arguments.batches:
        sizes = sizes._replace(batches=tuple(sorted(arguments.batches)))
    return sizes


def revision() -> str | None:
    """The revision of the code; None outside of git."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def main(words: Sequence[str] | None = None, began: float | None = None) -> None:
    """Measure and write.

    Args:
        words: of the command line.
        began: when the program began, of `time.perf_counter`; None for now.
    """
    began = time.perf_counter() if began is None else began
    arguments = arguments_of(words)
    sizes = sizes_of(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "gpu.json"
    again = path.exists() and (arguments.resume or arguments.only)
    earlier = json.loads(path.read_text())["sections"] if again else {}
    done = [name for name, found in earlier.items() if arguments.resume and "error" not in found]
    device = jax.devices()[0]
    memory = memory_of(device)
    report = {
        "device": device_name(),
        "platform": device.platform,
        "memory_bytes": memory,
        "cores": os.cpu_count(),
        "rehearsal": arguments.rehearse,
        "sizes": sizes._asdict(),
        "versions": versions(),
        "revision": arguments.revision or revision(),
        "sections": earlier,
    }
    run = Run(path, sizes, arguments.data, report, began + 60.0 * sizes.minutes)
    if arguments.rehearse:
        enable_compilation_cache()
    faulthandler.dump_traceback_later(60.0 * sizes.minutes + GRACE, exit=True)
    try:
        gigabytes = "?" if memory is None else f"{memory / 1e9:.0f}"
        run.say(
            f"{report['device']}, {gigabytes} GB, jax {jax.__version__}, {report['revision']}"
            + ("" if device.platform != "cpu" else "; no GPU here")
        )
        for name in arguments.only or SECTIONS:
            if name not in done:
                run.attempt(name, SECTIONS[name])
        failed = [name for name, found in run.sections.items() if "error" in found]
        report["seconds"] = time.perf_counter() - began
        run.say(
            f"\nwrote {path} after {report['seconds']:.0f} s"
            + (f"; failed: {', '.join(failed)}" if failed else "")
        )
    finally:
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    # The imports count too: they have taken about as long as the processor's time so far.
    main(began=time.perf_counter() - time.process_time())
    # A program that still compiles in a thread would hold the process back.
    sys.stdout.flush()
    os._exit(0)
