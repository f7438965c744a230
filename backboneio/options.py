"""What is said of an option, or a limit, that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Any


def refuse_unknown(options: Iterable[str], known: Collection[str], kind: str = "option") -> None:
    """Refuse options that nobody knows.

    :param kind: what they are, for the message.
    :raises ValueError: which names one, and the nearest that there is.
    """
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ValueError(f"unknown {kind} {name}{hint}")


class KnownLimits:
    """A dataclass of limits, which says which one there is not, and the nearest that there is."""

    def __new__(cls, *_args: Any, **named: Any) -> Any:
        """Refuse what is no limit.

        :raises ValueError: which names it.
        """
        refuse_unknown(named, cls.__dataclass_fields__, "limit")  # type: ignore[attr-defined]
        return super().__new__(cls)
