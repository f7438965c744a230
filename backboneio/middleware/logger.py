"""logger: a log line for every request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..request import Request, Response


def logger(
    logger: logging.Logger | None = None, level: int = logging.INFO
) -> Callable[[Request, Response, Callable[..., None]], None]:
    """Return a layer that logs backend, method, model id, channel, time taken and failures.

    Use it first, so that it sees what the layers below take.

    :param logger: where to; default the logger ``backboneio.requests``.
    :param level: of the lines for requests that did not fail; failures are warnings.
    """
    log = logger or logging.getLogger("backboneio.requests")

    def line(req: Request, res: Response, next: Callable[..., None]) -> None:
        start = time.perf_counter()
        failure: BaseException | None = None
        try:
            next()
        except Exception as err:
            failure = err
            raise
        finally:
            failure = failure or res.failure
            log.log(
                level if failure is None else logging.WARNING,
                "%s %s id=%r channel=%r %.1f ms%s",
                req.backend,
                req.method,
                req.model.get(req.id_attribute),
                req.channel,
                1000 * (time.perf_counter() - start),
                "" if failure is None else f" failed: {type(failure).__name__}: {failure}",
            )

    return line
