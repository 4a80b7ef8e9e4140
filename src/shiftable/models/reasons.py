"""What another library's error says, short enough for a line of ours."""

LONGEST = 200
"""Characters; some errors bring a page of advice."""


def reason(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none.

    Example:
        >>> reason(ValueError("no such thing\\nTry another.")), reason(KeyError())
        ('no such thing', 'KeyError')
    """
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
