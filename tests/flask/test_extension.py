"""What a Flask application keeps of us: the figures, and script tags for its templates."""

from __future__ import annotations

import re
from typing import Any

import flask
import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

import backboneio
from backboneio.testing import SyncClient


@pytest.mark.parametrize("proxied", [False, True])
def test_the_application_finds_the_figures_of_what_serves_it(
    app: flask.Flask, messages: Any, proxied: bool
) -> None:
    backboneio.listen(app, {"messages": messages})
    if proxied:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    client = SyncClient(app, "messages")
    stats = app.extensions["backboneio"].stats()
    assert stats["connections"] == 0  # the client of a test has none
    assert stats["backends"]["messages"]["sockets"] == 1
    client.disconnect()
    assert app.extensions["backboneio"].stats()["backends"]["messages"]["sockets"] == 0


def test_the_figures_of_several_add_up(
    app: flask.Flask, messages: Any, connect: Any, serve: Any
) -> None:
    backboneio.listen(app, {"messages": messages})
    backends = {"messages": backboneio.create_backend(), "others": backboneio.create_backend()}
    backboneio.listen(app, backends, path="live")
    url = serve(app).url
    connect(url)
    connect(url, path="live")
    stats = app.extensions["backboneio"].stats()
    assert stats["connections"] == 2
    assert isinstance(stats["transport"], str)
    assert {name: each["sockets"] for name, each in stats["backends"].items()} == {
        "messages": 1,
        "others": 0,
        "/live/messages": 1,
    }
    assert list(app.extensions["backboneio"].apps) == ["/socket.io/", "/live/"]


def test_templates_have_the_script_tags(app: flask.Flask, messages: Any) -> None:
    @app.get("/page")
    def page() -> str:
        return flask.render_template_string("{{ backboneio.scripts(defer=True) }}")

    backboneio.listen(app, {"messages": messages})
    backboneio.listen(app, {"messages": messages}, path="live")
    client = app.test_client()
    tags = client.get("/page").text
    sources = re.findall(r'<script src="([^"]+)" integrity="sha384-[^"]+" defer></script>', tags)
    assert len(sources) == 4
    for source in sources:
        response = client.get(source)
        assert response.status_code == 200
        assert "immutable" in response.headers["Cache-Control"]
    # As url_for() does, where a server or a proxy mounts the application below a path.
    below = client.get("/page", environ_overrides={"SCRIPT_NAME": "/shop"}).text
    assert below.count('<script src="/shop/socket.io/') == 4
    extension = app.extensions["backboneio"]
    assert str(extension.scripts("live")).count('src="/live/') == 4
    with pytest.raises(LookupError, match="nothing serves backends below /other/"):
        extension.scripts("other")
