"""The client with every Backbone, with and without jQuery, by script tag, AMD and ES module."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from .conftest import Window
from .lab import BACKBONE_IO, JQUERY, LODASH, SOCKET_IO, START, UNDERSCORE, Lab, backbone

pytestmark = pytest.mark.e2e


def works_between(lab: Lab, one: Page, other: Page) -> None:
    """See that each operation in *one* page shows in the *other*, and how its promise ends."""
    for page in (one, other):
        page.wait_for_function("messages.state === 'connected'")
    result = one.evaluate(
        "() => new Promise((done) => messages.create({text: 'hi'}, {success: (m) => done(m.id)}))"
    )
    assert result == 1
    other.wait_for_function("messages.texts() === 'hi'")
    # The promise is jQuery's where there is jQuery, else a native one.
    other.evaluate(
        "async () => { const promise = messages.first().save({text: 'ho'});"
        " if ((typeof promise.done === 'function') !== !!Backbone.$) throw Error('which promise?');"
        " await promise; }"
    )
    one.wait_for_function("messages.texts() === 'ho'")
    one.evaluate("async () => { await messages.first().save({n: 1}, {patch: true}); }")
    other.wait_for_function("messages.first().get('n') === 1 && messages.texts() === 'ho'")
    read = (
        "async () => { const again = make('messages'); await again.fetch(); return again.length; }"
    )
    assert other.evaluate(read) == 1
    other.evaluate("async () => { await messages.first().destroy(); }")
    one.wait_for_function("messages.length === 0")
    heard = ["backend:create", "backend:update", "backend:delete"]
    for page, expected in ((one, ["backend:update", "backend:delete"]), (other, heard[:2])):
        events = page.evaluate("messages.heard")
        assert [event for event in events if event in heard] == expected
    refused = one.evaluate(
        "() => new Promise((done) => new messages.model({id: 99}, {collection: messages})"
        ".fetch({error: (m, response) => done(response.error.name)}))"
    )
    assert refused == "NotFound"


@pytest.mark.parametrize("jquery", [True, False], ids=["jquery", "no jquery"])
@pytest.mark.parametrize("version", ["1.1.2", "1.2.3", "1.3.3", "1.4.1", "1.5.0", "1.6.1"])
def test_backbone(lab: Lab, window: Window, version: str, jquery: bool) -> None:
    libraries = (UNDERSCORE, backbone(version), SOCKET_IO, BACKBONE_IO)
    page = lab.page(libraries=(JQUERY, *libraries) if jquery else libraries)
    one = window(lab.url + page)
    assert one.evaluate("Backbone.VERSION") == version
    works_between(lab, one, window(lab.url + page, beside=one))


@pytest.mark.parametrize("version", ["1.4.1", "1.6.1"])
def test_lodash(lab: Lab, window: Window, version: str) -> None:
    page = lab.page(libraries=(LODASH, backbone(version), SOCKET_IO, BACKBONE_IO))
    one = window(lab.url + page)
    assert one.evaluate("_.VERSION").startswith("4.")
    works_between(lab, one, window(lab.url + page, beside=one))


def test_zepto_like_libraries_without_deferreds(lab: Lab, window: Window) -> None:
    page = lab.page(script="Backbone.$ = function() {};" + START)
    one = window(lab.url + page)
    one.wait_for_function("messages.state === 'connected'")
    assert one.evaluate("messages.fetch() instanceof Promise")


#: What RequireJS does, as far as these libraries ask for it: `define` and, at last, `require`.
AMD = """<script>
  var modules = {}, waiting = {};
  function define(name, needs, factory) {
    if (typeof name !== 'string') { factory = needs; needs = name; name = null; }
    if (!Array.isArray(needs)) { factory = needs; needs = []; }
    waiting[document.currentScript.dataset.module || name] = {needs: needs, factory: factory};
  }
  define.amd = {};
  function require(name) {
    if (name in modules) return modules[name];
    var exports = modules[name] = {}, module = waiting[name];
    if (!module) throw new Error('no module ' + name);
    var result = typeof module.factory !== 'function' ? module.factory :
      module.factory.apply(null, module.needs.map(function(need) {
        return need === 'exports' ? exports : require(need);
      }));
    return result === undefined ? exports : (modules[name] = result);
  }
</script>""" + "".join(
    f"<script src='{source}' data-module='{name}'></script>"
    for source, name in (
        (BACKBONE_IO, "backbone.io"),  # in any order
        (UNDERSCORE, "underscore"),
        (JQUERY, "jquery"),
        (backbone(), "backbone"),
        (SOCKET_IO, "socket.io-client"),
    )
)


def test_amd(lab: Lab, window: Window) -> None:
    script = (
        "var client = require('backbone.io'), Page = require('backbone');"
        "if (client !== Page.io || window.io) throw Error('not as a module');"
        "window.Backbone = Page;" + START
    )
    page = lab.page(html=AMD, libraries=(), script=script)
    one = window(lab.url + page)
    works_between(lab, one, window(lab.url + page, beside=one))


def test_es_modules(lab: Lab, window: Window) -> None:
    modules = f"""<script type="module">
      import _ from '/vendor/underscore/underscore-esm.js';
      window._ = _;
      await import('{backbone()}');
      import {{ io }} from '/socket.io/socket.io.esm.min.js';
      window.io = io;
      await import('{BACKBONE_IO}');
      {START}
    </script>"""
    page = lab.page(html=modules, libraries=(), script="")
    pages = [window(lab.url + page)]
    pages.append(window(lab.url + page, beside=pages[0]))
    for page in pages:
        page.wait_for_function("window.messages")
    works_between(lab, *pages)


def test_es6_classes(lab: Lab, window: Window) -> None:
    script = """
      Backbone.io.connect();
      class Message extends Backbone.Model {}
      class Messages extends Backbone.Collection {
        backend = {name: 'messages', channel: 'c'};
        get model() { return Message; }
        constructor(...args) { super(...args); this.bindBackend(); }
      }
      window.one = new Messages();
      window.two = new (class extends Messages {
        get backend() { return 'tasks'; }
        set backend(value) {}
      })();
    """
    page = lab.open(window, script=script)
    other = lab.open(window, script=START + "messages = make({name: 'messages', channel: 'c'});")
    other.wait_for_function("messages.state === 'connected'")
    page.evaluate("async () => { await one.create({text: 'a'}, {wait: true}); await one.fetch(); }")
    other.wait_for_function("messages.texts() === 'a'")
    other.evaluate("() => { messages.first().save({text: 'b'}); }")
    page.wait_for_function("one.pluck('text').join() === 'b' && one.first() instanceof one.model")


def test_what_has_no_backend_keeps_its_sync(lab: Lab, window: Window) -> None:
    lab.app.add_url_rule("/rest/<int:id>", view_func=lambda id: {"id": id, "text": "by HTTP"})
    page = lab.open(window, script="")
    text = page.evaluate(
        "async () => { const model = new Backbone.Model({id: 7}); model.urlRoot = '/rest';"
        " await model.fetch(); return model.get('text'); }"
    )
    assert text == "by HTTP"
    assert len(lab.live.syncs["messages"].sockets) == 0


def test_a_strict_content_security_policy(lab: Lab, window: Window) -> None:
    policy = "default-src 'none'; script-src 'self' 'nonce-lab'; connect-src 'self'"
    page = lab.page(headers={"Content-Security-Policy": policy})
    one = window(lab.url + page)  # violations are errors on its console
    other = lab.open(window)
    other.wait_for_function("messages.state === 'connected'")
    one.evaluate("() => { messages.create({text: 'within the rules'}); }")
    other.wait_for_function("messages.texts() === 'within the rules'")
