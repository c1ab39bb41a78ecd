"""The matrix products of a lowered program that accelerators would compute with rounded factors."""

from __future__ import annotations

import re

PRODUCT = re.compile(r"^.*stablehlo\.dot(?:_general)?\b.*$", re.MULTILINE)
FULL = "precision = [HIGHEST, HIGHEST]"


def lines_of(program: str) -> list[str]:
    """The lines of all matrix products in the text of a program."""
    return [line.strip() for line in PRODUCT.findall(program)]


def rounded(program: str) -> list[str]:
    """Those of them that do not ask for full precision."""
    return [line for line in lines_of(program) if FULL not in line]
