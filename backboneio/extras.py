"""Extras: one clear error where a library that is optional is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sqlalchemy_needed(name: str) -> Iterator[None]:
    """Import in this block what needs SQLAlchemy; *name* is what somebody has asked for.

    :raises ModuleNotFoundError: naming the extra, when SQLAlchemy is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as err:
        if err.name != "sqlalchemy":
            raise
        raise ModuleNotFoundError(
            f"{name} needs SQLAlchemy: pip install 'backboneio[sqlalchemy]'", name=err.name
        ) from err
