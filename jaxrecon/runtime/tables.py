"""Tables of text, for a terminal and for Jupyter."""

from collections.abc import Mapping, Sequence
from html import escape

SHOWN = 100
"""Largest number of rows that Jupyter shows."""

SIDES = {"<": "left", ">": "right"}
"""Alignment in HTML, by its sign in Python's format specifications."""


def text(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table for a terminal, with columns as wide as their widest entry.

    Args:
        columns: the alignment of each column by its name: left, ``"<"``, or right, ``">"``.
        rows: the entries of each row, one for each column.

    Returns:
        The lines of the table, the first with the names of the columns.

    >>> print(text({"formula": "<", "s": ">"}, [["Pt10", "0.1"], ["H2O", "12.0"]]))
    formula     s
    Pt10      0.1
    H2O      12.0
    """
    widths = [max(map(len, words)) for words in zip(columns, *rows, strict=True)]
    forms = [f"{side}{width}" for side, width in zip(columns.values(), widths, strict=True)]
    lines = [
        "  ".join(format(word, form) for word, form in zip(row, forms, strict=True))
        for row in (list(columns), *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def html(columns: Mapping[str, str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Format a table as HTML, with at most the first 100 rows.

    Args:
        columns: the alignment of each column by its name: left, ``"<"``, or right, ``">"``.
        rows: the entries of each row, one for each column.
        caption: text below the table; none if it is empty.

    Returns:
        A table, and a paragraph if there is anything to say below it.

    >>> html({"formula": "<"}, [["H2O"]], "1 < 2").count("&lt;")
    1
    """

    def line(kind: str, words: Sequence[str]) -> str:
        cells = [
            f'<{kind} style="text-align: {SIDES[side]}">{escape(word)}</{kind}>'
            for word, side in zip(words, columns.values(), strict=True)
        ]
        return f"<tr>{''.join(cells)}</tr>"

    left = len(rows) - SHOWN
    below = "; ".join(filter(None, (caption, f"{left} more rows" if left > 0 else "")))
    paragraph = f"<p>{escape(below)}</p>" if below else ""
    body = "".join(line("td", row) for row in rows[:SHOWN])
    head = line("th", list(columns))
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{paragraph}"
