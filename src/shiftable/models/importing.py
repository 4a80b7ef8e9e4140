"""The user's own functions, by name."""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import getcwd
from pathlib import Path
from types import ModuleType
from typing import Any

from shiftable.errors import InputError, unknown
from shiftable.models.reasons import reason


def named_function(name: str) -> Callable[..., Any]:
    """A function of the user's.

    Args:
        name: ``package.module:function``, where the working folder is searched first, or ``path/to/file.py:function``,
            which finds the modules beside it while it is imported, as ``python path/to/file.py`` would.

    Raises:
        InputError: If the module or the function is not there, or the module can't be imported, or exits.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        todo = "write package.module:function, or path/to/file.py:function"
        raise InputError(f"{name!r} names no function", todo=todo)
    try:
        module = _of_file(Path(place)) if place.endswith(".py") else _of_name(place)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"no module {error.name!r}", where=name, todo="run where it can be imported") from error
    except Exception as error:  # it runs the user's code
        what = f"importing it fails ({type(error).__name__}: {reason(error)})"
        raise InputError(what, where=name, todo="run it by Python alone to see more") from error
    except SystemExit as error:
        what = f"importing it ends the program ({reason(error)})"
        todo = 'move what reads arguments or exits under if __name__ == "__main__":'
        raise InputError(what, where=name, todo=todo) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise unknown("function", attribute, [key for key, value in vars(module).items() if callable(value)])
    return function  # type: ignore[no-any-return]


def _of_name(name: str) -> ModuleType:
    if getcwd() not in sys.path:
        sys.path.insert(0, getcwd())
    with _as_if_run(Path(getcwd()), name):
        return importlib.import_module(name)


def _of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError("no such file", where=path, todo="give the path of a Python file")
    name = f"shiftable_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a file that ends in .py has a loader"
    assert spec.loader is not None, "and this is it"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    try:
        with _as_if_run(path.absolute().parent, str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _as_if_run(folder: Path, program: str) -> Iterator[None]:
    """As ``python FILE`` would: modules beside the file are found, and our own arguments are not the user's."""
    place, ours, usage = str(folder), sys.argv, argparse.ArgumentParser.error

    def exits(_: argparse.ArgumentParser, message: str) -> None:
        raise SystemExit(message)  # without printing its usage

    sys.path.insert(0, place)
    sys.argv, argparse.ArgumentParser.error = [program], exits  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        sys.argv, argparse.ArgumentParser.error = ours, usage  # type: ignore[method-assign]
        if place in sys.path:
            sys.path.remove(place)
