"""logger: a log line for every request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..answers import Answered
from ..request import Request, Response

#: Characters of an error that are logged: it may repeat what a client sent.
_MAX_FAILURE = 500


def logger(
    logger: logging.Logger | None = None, level: int = logging.INFO
) -> Callable[[Request, Response, Callable[..., None]], None]:
    """Return a layer that logs backend, method, model id, channel, time taken and failures.

    Use it first, so that it sees what the layers below take. What may come from a client is quoted
    as Python quotes strings: nobody can begin a line of their own, or colour the terminal.

    :param logger: where to; default the logger ``backboneio.requests``.
    :param level: of the lines for requests that did not fail; failures are warnings.
    """
    log = logger or logging.getLogger("backboneio.requests")

    def line(req: Request, res: Response, next: Callable[..., None]) -> None:
        start = time.perf_counter()
        failure: BaseException | None = None
        try:
            next()
        except Answered:  # by its first try
            raise
        except Exception as err:
            failure = err
            raise
        finally:
            failure = failure or res.failure
            log.log(
                level if failure is None else logging.WARNING,
                "%s %s id=%.200r channel=%.300r %.1f ms%s",
                _quoted(req.backend),
                _quoted(req.method),
                req.model.get(req.id_attribute),
                req.channel,
                1000 * (time.perf_counter() - start),
                "" if failure is None else f" failed: {_described(failure)}",
            )

    return line


def _quoted(name: str) -> str:
    """Return a name as it is when it is one, else quoted."""
    return name if name.replace("-", "").replace("_", "").isalnum() else repr(name)


def _described(failure: BaseException) -> str:
    """Return name and message of an error on one line, or the name alone when it cannot be read."""
    try:
        message = str(failure)
    except Exception:
        return type(failure).__name__
    shown = message if message.isprintable() else repr(message)
    return f"{type(failure).__name__}: {shown:.{_MAX_FAILURE}}"
