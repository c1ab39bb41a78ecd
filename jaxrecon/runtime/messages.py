"""Texts of errors of others as parts of messages: on one line, and not longer than can be read."""

LONGEST = 160
"""Number of characters of a library's message that become part of an error message."""

LONGEST_LINE = 300
"""Largest number of characters of a message of the command line."""

GAP = " ... "
"""Text in place of the middle of a text that is too long."""


def reason(error: BaseException) -> str:
    """Type and text of an exception that a library raised, as a part of an error message."""
    text = shortened(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shortened(text: str, length: int = LONGEST) -> str:
    r"""Text on one line, its middle left out where it is longer than some length.

    Args:
        text: any text.
        length: largest number of characters of the result, at least 7.

    Returns:
        The text with single blanks in place of ends of lines.

    >>> shortened("one\n  two"), shortened("0123456789" * 9, 15)
    ('one two', '01234 ... 56789')
    """
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    tail = (length - len(GAP)) // 2
    return line[: length - len(GAP) - tail] + GAP + line[-tail:]
