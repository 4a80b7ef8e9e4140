"""How a server is asked, as the user says it; and which of that may be shown."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from shiftable.errors import InputError, unknown

PUBLIC = frozenset({"model", "name", "version", "revision", "deployment", "variant", "task", "api-version"})
"""Fields of an address's query that are recorded with their values. Any other's value may be a password."""


@dataclass(frozen=True)
class Client:
    """How a server is asked. Fields as in ``--model-arg``.

    Args:
        requests: Under way at once.
        views_per_request: Views in one request, at most; the server may take fewer.
        timeout_s: Seconds that an answer may take.
        retries: How often a request is sent again after a failure that may pass.
        header_env: Name of an environment variable that holds request headers, ``Name: value``, one a line.
    """

    requests: int = 8
    views_per_request: int = 8
    timeout_s: float = 30.0
    retries: int = 3
    header_env: str | None = None


HEADER = re.compile(r"[-\w!#$%&'*+.^`|~]+:[ -~]+", re.ASCII)
"""What may be sent. Others would complain of what may not by showing it."""

LIMITS = {"requests": (1, 256), "views_per_request": (1, 4096), "retries": (0, 100), "timeout_s": (0.001, 86400.0)}
"""The least and the most of each setting."""


def read_client(arguments: Mapping[str, Any], where: str) -> Client:
    """The settings that the user gives, checked.

    Raises:
        InputError: For an unknown setting, or a value it can't take.
    """
    names = [field.name for field in fields(Client)]
    checked: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in names:
            error = unknown("model argument", name, names)
            raise InputError(error.what, where=where, todo=error.todo)
        checked[name] = value
        if name == "header_env":
            continue
        least, most = LIMITS[name]
        kinds = (int, float) if isinstance(least, float) else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            raise InputError(f"{name} can't be {value!r}", where=where, todo=f"give a number from {least} to {most}")
        checked[name] = type(least)(value)
    return Client(**checked)


def read_headers(variable: str | None, where: str) -> dict[str, str]:
    """Request headers from an environment variable, so that no secret stands on a command line or in a record.

    Raises:
        InputError: If the variable is not set or is no ``Name: value``. Its value is never shown.
    """
    if variable is None:
        return {}
    lines = os.environ.get(str(variable), "").strip().splitlines()
    pairs = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    if not pairs or not all(HEADER.fullmatch(f"{name}:{value}") for name, value in pairs):
        found = "is not set" if not lines else "is no header"
        raise InputError(
            f"the environment variable {variable} {found}", where=where, todo=f"export {variable}='Name: value'"
        )
    return dict(pairs)


def without_secrets(url: str) -> str:
    """An address as it may be recorded: no user, no password, no query values but harmless ones.

    Example:
        >>> without_secrets("https://me:pw@host:8000/predict?model=a&key=123#top")
        'https://host:8000/predict?model=a&key=…'
    """
    parts = urlsplit(url)
    pairs = [pair.partition("=") for pair in re.split("[&;]", parts.query) if pair]
    public = [name in PUBLIC and re.fullmatch(r"[\w.-]*", value) for name, _, value in pairs]
    shown = [
        f"{name}={value if plain else '…'}" if equals else "…"
        for plain, (name, equals, value) in zip(public, pairs, strict=True)
    ]
    query = f"?{'&'.join(shown)}" if shown else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"
