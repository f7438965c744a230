"""cookie_parser: the cookies of the handshake."""

from __future__ import annotations

from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("a=1; b=two; c=%C3%BC", {"a": "1", "b": "two", "c": "%C3%BC"}),
        ("", {}),
        ("nonsense; =; a=1", {"a": "1"}),
    ],
)
def test_cookies_of_the_handshake(app: flask.Flask, header: str, cookies: Any) -> None:
    backend = backboneio.create_backend()
    backend.use(backboneio.middleware.cookie_parser())
    backend.read(lambda req, res: res.end(req.cookies))
    backboneio.listen(app, {"cookies": backend})
    client = SyncClient(app, "cookies", headers={"Cookie": header} if header else None)
    answer = client.read()
    answer.pop("", None)
    answer.pop("nonsense", None)
    assert answer == cookies
    assert backend.call("read") == {}
