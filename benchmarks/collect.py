"""Keep what recovery.py has measured, and make the table of benchmarks/README.md from it.

    python benchmarks/recovery.py qm7_500 --data DIR --budget 5e4 -o out
    python benchmarks/collect.py out/qm7_500.json
    python benchmarks/collect.py

Each run becomes a small file in benchmarks/results: the command, counts and medians, the machine,
versions and the revision of the program. A run of the same set, fingerprint, budget and unknowns
replaces the one before it. The table has all of them.
"""

import argparse
import json
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README, RESULTS = HERE / "README.md", HERE / "results"

MARKS = "<!-- recovery: made by collect.py -->", "<!-- end of recovery -->"
"""Lines of the README between which the table stands."""

KEPT = ("targets", "certified", "matched", "matched loosely", "numbers", "evaluations", "seconds")
"""Figures that are kept, besides the work in all."""


@cache
def revision() -> str:
    """The revision of the program, with a plus where it was changed since; asked for once."""
    head = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=HERE, capture_output=True, text=True
    )
    return head.stdout.strip() or "unknown"


def kept(report: dict[str, Any]) -> dict[str, Any]:
    """The small form of what recovery.py wrote; its settings must be unchanged."""
    (own,) = report["variants"].values()
    words = [word for word in report["command"] if not word.startswith("/")]
    # The folders of data and results say nothing.
    for option in ("--data", "-o"):
        if option in words:
            place = words.index(option)
            del words[place : place + 1 + (len(words) > place + 1 and words[place + 1][0] != "-")]
    summary = own["summary"]
    return {
        "set": report["set"],
        "fingerprint": own["fingerprint"],
        "budget": report["budget"],
        "command": f"python benchmarks/{' '.join(words)}",
        "device": report["device"],
        "versions": report["versions"],
        "revision": revision(),
        "seed": report["seed"],
        **{name: summary[name] for name in KEPT if name in summary},
        "seconds_searching": round(summary["seconds_in_all"], 1),
        "seconds_compiling": round(summary["seconds_compiling"], 1),
    }


def name_of(entry: dict[str, Any]) -> str:
    """The name of the file of a run: what was asked."""
    words = entry["command"].split()[1:]
    return (
        re.sub(r"[^\w.=]+", "_", " ".join(words).removeprefix("benchmarks/recovery.py ")) + ".json"
    )


def table(entries: Iterable[dict[str, Any]]) -> str:
    """The rows of the README."""
    lines = [
        "| command | targets | numbers | certified | matched | evaluations, median "
        "| seconds: median, in all, compiling | revision |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        least, _, most = entry["numbers"]
        middle = [entry[name]["median"] for name in ("evaluations", "seconds")]
        work, time = (
            "-" if value is None else f"{value:,.{digits}f}"
            for value, digits in zip(middle, (0, 2), strict=True)
        )
        lines.append(
            f"| `{entry['command'].removeprefix('python benchmarks/')}` | {entry['targets']} "
            f"| {least if least == most else f'{least} to {most:,}'} | {entry['certified']} "
            f"| {entry.get('matched', 'not known')} | {work} "
            f"| {time}, {entry['seconds_searching']:,.0f}, {entry['seconds_compiling']:,.0f} "
            f"| {entry['revision']} |"
        )
    return "\n".join(lines)


def entries() -> list[dict[str, Any]]:
    """All runs that are kept, by set, fingerprint and budget."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return sorted(found, key=lambda entry: entry["command"])


def with_table(text: str) -> str:
    """The text of the README with the table of all runs."""
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    return f"{before}{MARKS[0]}\n{table(entries())}\n{MARKS[1]}{after}"


def main() -> None:
    """Keep the runs that are named, and make the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reports", nargs="*", type=Path, help="files that recovery.py has written")
    for path in parser.parse_args().reports:
        entry = kept(json.loads(path.read_text()))
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / name_of(entry)).write_text(json.dumps(entry, indent=1) + "\n")
    README.write_text(with_table(README.read_text()))


if __name__ == "__main__":
    main()
