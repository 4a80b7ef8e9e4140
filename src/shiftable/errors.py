"""One error type for input that can't be used: what is wrong, where, and what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(Exception):
    """Something the user gave can't be used. The message is one line; the command line exits with code 2.

    Args:
        what: What is wrong, quoting the value received.
        where: The file, option or place it was found in.
        todo: What to do next.

    Example:
        >>> print(InputError("no images found", where="photos/", todo="give a folder that holds .jpg or .png files"))
        photos/: no images found; give a folder that holds .jpg or .png files
    """

    def __init__(self, what: str, *, where: object = None, todo: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.todo = todo
        place = "" if self.where is None else f"{self.where}: "
        step = "" if todo is None else f"; {todo}"
        super().__init__(" ".join(f"{place}{what}{step}".split()))


def unknown(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """The error for a name that is not on a list: names the closest ones, else all of a short list.

    Example:
        >>> print(unknown("motion", "corp", ["crop", "roll"]))
        unknown motion 'corp'; did you mean crop?
        >>> print(unknown("motion", "zoom", ["crop", "roll"]))
        unknown motion 'zoom'; choose one of crop, roll
    """
    menu = list(choices)
    close = get_close_matches(name, menu, n=3)
    if close:
        todo = f"did you mean {' or '.join(close)}?"
    elif len(menu) <= 12:
        todo = f"choose one of {', '.join(menu)}"
    else:
        todo = f"there are {len(menu)} to choose from, {menu[0]} … {menu[-1]}"
    return InputError(f"unknown {kind} {name!r}", todo=todo)


def missing_extra(package: str, extra: str) -> InputError:
    """The error for an optional dependency that is not installed: says which extra brings it.

    Example:
        >>> print(missing_extra("timm", "timm"))
        the package timm is not installed; pip install 'shiftable[timm]'
    """
    return InputError(f"the package {package} is not installed", todo=f"pip install 'shiftable[{extra}]'")
