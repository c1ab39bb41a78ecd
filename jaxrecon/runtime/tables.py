"""Tables of words, for a terminal and for Jupyter."""

from collections.abc import Mapping, Sequence
from html import escape

SHOWN = 100
"""Rows at most that Jupyter shows."""

SIDES = {"<": "left", ">": "right"}


def text(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest word.

    Args:
        columns: by name, whether words are to the left, ``"<"``, or to the right, ``">"``.
        rows: a word for each column.

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


def html(columns: Mapping[str, str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """The same as HTML; of many rows the first.

    Args:
        columns: by name, whether words are to the left, ``"<"``, or to the right, ``">"``.
        rows: a word for each column.
        caption: below the table.

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
    below = f"{caption}; {left} more rows" if left > 0 else caption
    body = "".join(line("td", row) for row in rows[:SHOWN])
    head = line("th", list(columns))
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table><p>{escape(below)}</p>"
