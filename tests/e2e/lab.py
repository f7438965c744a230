"""Small pages for the client's features: libraries of choice, and a little JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask

import backboneio

from ..support import ROOT, LiveServer

NODE_MODULES = ROOT / "js" / "node_modules"
UNDERSCORE = "/vendor/underscore/underscore-umd.js"
LODASH = "/vendor/lodash/lodash.js"
JQUERY = "/vendor/jquery/dist/jquery.js"
SOCKET_IO = "/socket.io/socket.io.js"
BACKBONE_IO = "/socket.io/backbone.io.js"

#: Connects, and makes a bound collection of every kind that the tests ask for.
START = """
  window.socket = Backbone.io.connect({reconnectionDelay: 50, reconnectionDelayMax: 200});
  window.make = function(backend, options) {
    var Collection = Backbone.Collection.extend({
      backend: backend,
      initialize: function() {
        this.heard = [];
        this.state = 'new';
        this.bindBackend();
        this.on('all', function(event, model) {
          if (/^(backend|custom)/.test(event)) this.heard.push(event);
          if (/:connect$/.test(event)) this.state = 'connected';
          if (/:disconnect$/.test(event)) this.state = 'disconnected';
        });
      },
      texts: function() { return this.pluck('text').join(); }
    });
    return new Collection([], options);
  };
  window.messages = make('messages');
"""


def backbone(version: str = "1.6.1") -> str:
    folder = "backbone" if version == "1.6.1" else f"backbone-{version}"
    return f"/vendor/{folder}/backbone.js"


class Lab:
    """An application with pages that tests write; ``app`` may be changed until ``serve``."""

    def __init__(self, **backends: backboneio.Backend) -> None:
        self.backends = backends
        self.stores = {
            name: backend.use(backboneio.middleware.memory_store(per_channel=True))
            for name, backend in backends.items()
        }
        self.app = flask.Flask("lab")
        self.app.secret_key = "of the tests"
        self.pages: dict[str, tuple[str, dict[str, str]]] = {}
        self.app.add_url_rule("/vendor/<path:path>", view_func=self._vendor, endpoint="vendor")
        self.app.add_url_rule("/page/<name>", view_func=self._page, endpoint="page")
        self.app.add_url_rule("/favicon.ico", view_func=lambda: ("", 204), endpoint="icon")

    def serve(self, serve: Callable[..., LiveServer], **options: Any) -> str:
        """Serve it with *options* of ``WSGIApp``."""
        self.live = backboneio.WSGIApp(self.app, self.backends, **options)
        self.url = serve(self.live).url
        return self.url

    def page(
        self,
        *,
        libraries: tuple[str, ...] = (UNDERSCORE, JQUERY, backbone(), SOCKET_IO, BACKBONE_IO),
        script: str = START,
        html: str = "",
        headers: dict[str, str] | None = None,
    ) -> str:
        """Make a page with script tags and *script* after them; return its path."""
        name = str(len(self.pages))
        tags = "".join(f'<script src="{source}"></script>' for source in libraries)
        ours = f"<script nonce=lab>{script}</script>" if script else ""
        document = f"<!doctype html><html lang=en><title>{name}</title>{html}{tags}{ours}</html>"
        self.pages[name] = (document, headers or {})
        return f"/page/{name}"

    def open(self, window: Callable[..., Any], base: str | None = None, **options: Any) -> Any:
        """Open a page in a new window; *options* are those of ``page``, *base* another origin."""
        of_window = {key: options.pop(key) for key in ("tolerate",) if key in options}
        return window((base or self.url) + self.page(**options), **of_window)

    def _vendor(self, path: str) -> flask.Response:
        return flask.send_from_directory(Path(NODE_MODULES), path)

    def _page(self, name: str) -> Any:
        document, headers = self.pages[name]
        return document, headers
