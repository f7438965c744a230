"""The files for the browser over HTTP: content, caching, compression, and what is refused."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
from werkzeug.serving import make_server
from werkzeug.test import Client, TestResponse

from backboneio.client_files import ClientFiles

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SCRIPT = b"// a script, long enough to be smaller when compressed\n" * 50
SOCKET_IO = "/socket.io/socket.io.js"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "vendor").mkdir()
    for name in ClientFiles.names:
        (tmp_path / name).write_bytes(SCRIPT + name.encode())
    return tmp_path


@pytest.fixture
def client(directory: Path) -> Client:
    return Client(ClientFiles(directory))


def follow(client: Client, url: str) -> TestResponse:
    """Go where a browser goes, which resolves what it is sent to against what it has asked for."""
    while (response := client.get(url)).status_code == 307:
        assert response.headers["Cache-Control"] == "no-store"
        url = urljoin(url, response.headers["Location"])
    return response


@pytest.mark.parametrize("name", sorted(ClientFiles.names))
@pytest.mark.parametrize("prefix", ["/", "/socket.io/", "/deep/er/"])
def test_every_file_is_served_under_any_prefix(client: Client, prefix: str, name: str) -> None:
    response = client.get(prefix + name)
    assert response.status_code == 200
    assert response.data == SCRIPT + name.encode()
    assert response.headers["Content-Length"] == str(len(response.data))
    if name.endswith(".js"):
        assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    elif name.endswith(".map"):
        assert response.headers["Content-Type"] == "application/json"


def test_match_tells_the_name() -> None:
    files = ClientFiles()
    assert files.match("/socket.io/backbone.io.js") == "backbone.io.js"
    assert files.match("socket.io.js") == "socket.io.js"
    assert files.match("/socket.io/vendor/backbone.js") == "vendor/backbone.js"
    assert files.match("vendor/backbone.js") == "vendor/backbone.js"
    assert files.match("/socket.io/backbone.js") is None
    assert files.match("/socket.io/vendor") is None
    assert files.match("/socket.io/") is None
    assert files.match("") is None
    assert files.match("/socket.io.js/") is None
    assert files.match("/not-socket.io.js") is None


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/socket.io/",
        "/socket.io/secret.js",
        "/socket.io/../secret.js",
        "/socket.io/..%2fsecret.js",
        "/socket.io/..\\secret.js",
        "/socket.io/socket.io.js/",
        "/socket.io/socket.io.js%00",
        "/socket.io/%2e%2e/%2e%2e/etc/passwd",
        "/socket.io/\xff\xfe",
    ],
)
def test_nothing_else_is_served(directory: Path, client: Client, path: str) -> None:
    (directory / "secret.js").write_text("secret")
    response = client.get(path)
    assert response.status_code == 404
    assert b"secret" not in response.data


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "ODD"])
def test_other_methods_are_not_allowed(client: Client, method: str) -> None:
    response = client.open(SOCKET_IO, method=method)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_head_has_the_headers_of_get_and_no_body(client: Client, coding: str) -> None:
    headers = {"Accept-Encoding": coding}
    get = client.get(SOCKET_IO, headers=headers)
    head = client.head(SOCKET_IO, headers=headers)
    assert head.status_code == 200
    assert head.data == b""
    assert dict(head.headers) == dict(get.headers)
    assert head.headers["Content-Length"] == str(len(get.data))


def test_a_browser_asks_every_time_and_hears_not_modified(client: Client) -> None:
    first = client.get(SOCKET_IO)
    assert first.headers["Cache-Control"] == "no-cache"
    assert not first.headers["ETag"].startswith("W/")
    for value in (first.headers["ETag"], f'"other", {first.headers["ETag"]}', "*"):
        again = client.get(SOCKET_IO, headers={"If-None-Match": value})
        assert again.status_code == 304
        assert again.data == b""
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Cache-Control"] == "no-cache"
        assert again.headers["Vary"] == "Accept-Encoding"
        assert "Content-Encoding" not in again.headers
    assert client.get(SOCKET_IO, headers={"If-None-Match": '"other"'}).status_code == 200


def test_not_modified_by_date(client: Client) -> None:
    modified = client.get(SOCKET_IO).headers["Last-Modified"]
    unchanged = client.get(SOCKET_IO, headers={"If-Modified-Since": modified})
    assert unchanged.status_code == 304
    long_ago = {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}
    assert client.get(SOCKET_IO, headers=long_ago).status_code == 200
    # A tag outranks a date (RFC 9110, 13.1.3).
    both = {"If-Modified-Since": modified, "If-None-Match": '"other"'}
    assert client.get(SOCKET_IO, headers=both).status_code == 200


def test_what_is_asked_for_by_its_version_is_kept_for_ever(directory: Path) -> None:
    files = ClientFiles(directory)
    client = Client(files)
    for name in sorted(ClientFiles.names):
        url = files.url(name)
        for accepted in ("gzip", "identity"):
            response = client.get(f"/socket.io/{url}", headers={"Accept-Encoding": accepted})
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    before = files.url("vendor/backbone.js")
    (directory / "vendor" / "backbone.js").write_bytes(b"another version")
    assert files.url("vendor/backbone.js") != before
    # A page of the old version gets what there is, and may not keep it under that name.
    response = follow(client, f"/socket.io/{before}")
    assert response.data == b"another version"
    assert response.headers["Cache-Control"] == "no-cache"


def test_a_worker_without_the_version_sends_to_another(directory: Path, tmp_path: Path) -> None:
    """As when a new release replaces the workers, and the balancer asks them in turn."""
    old = Path(shutil.copytree(directory, tmp_path / "old"))
    (old / "socket.io.js").write_bytes(b"of the old release")
    new, asked = ClientFiles(directory), []
    workers = [ClientFiles(old), ClientFiles(old), new]

    def balancer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked.append(environ["QUERY_STRING"])
        return workers[(len(asked) - 1) % 3](environ, start_response)

    client = Client(balancer)
    url = new.url("socket.io.js")
    version = url.partition("=")[2]
    response = follow(client, f"/app/socket.io/{url}")
    assert response.data == SCRIPT + b"socket.io.js"
    assert "immutable" in response.headers["Cache-Control"]
    assert asked == [f"v={version}", f"v={version}&again=1", f"v={version}&again=2"]
    # A version that nobody has any more: what there is, after ten more questions.
    asked.clear()
    response = follow(client, "/socket.io/socket.io.js?v=0123456789ab")
    assert response.status_code == 200 and len(asked) == 11
    assert response.headers["Cache-Control"] == "no-cache"
    # What is no version of ours, and numbers that are none, make nobody wait.
    for query in ("v=1", "v=0123456789ab&again=-1", f"v=0123456789ab&again={10**9}"):
        assert client.get(f"{SOCKET_IO}?{query}").status_code == 200, query


def test_script_tags(directory: Path) -> None:
    files = ClientFiles(directory)
    tags = str(files.scripts("/live/", jquery=True, defer=True, nonce='"<&', id=None))
    found = re.findall(
        r'<script src="/live/([^"?]+)[?]v=([0-9a-f]+)" integrity="sha384-([^"]+)" defer '
        r'nonce="&#34;&lt;&amp;"></script>',
        tags,
    )
    names = ["jquery", "underscore", "backbone"]
    assert [name for name, _, _ in found] == [
        *(f"vendor/{name}.min.js" for name in names),
        "socket.io.min.js",
        "backbone.io.min.js",
    ]
    assert tags.count("<script") == 5
    for name, _, digest in found:
        body = (directory / name).read_bytes()
        assert base64.b64decode(digest) == hashlib.sha384(body).digest()
    readable = files.scripts("/socket.io/", minified=False)
    assert re.findall(r'src="/socket.io/([^?]+)', readable) == [
        "vendor/underscore.js",
        "vendor/backbone.js",
        "socket.io.js",
        "backbone.io.js",
    ]
    for function in (files.url, files.integrity):
        with pytest.raises(KeyError, match="there is no file"):
            function("secret.js")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("br", None),
        ("*", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.0, *", None),
        ("*;q=0", None),
        ("gzip;q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=0.2", "gzip"),
        ("gzip;q=0.2, identity;q=0.5", None),
        ("gzip;q=0.2, *;q=0.5", None),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        ("gzip;q=nonsense", None),
        (";;,=,q=1", None),
    ],
)
def test_gzip_for_whoever_prefers_it(
    client: Client, accepted: str | None, coding: str | None
) -> None:
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    response = client.get(SOCKET_IO, headers=headers)
    assert response.headers.get("Content-Encoding") == coding
    assert response.headers["Vary"] == "Accept-Encoding"
    assert response.headers["Content-Length"] == str(len(response.data))
    content = gzip.decompress(response.data) if coding else response.data
    assert content == SCRIPT + b"socket.io.js"


def test_each_coding_has_its_own_tag(client: Client) -> None:
    plain = client.get(SOCKET_IO)
    packed = client.get(SOCKET_IO, headers={"Accept-Encoding": "gzip"})
    assert plain.headers["ETag"] != packed.headers["ETag"]
    for tag, accepted, status in [
        (packed.headers["ETag"], "gzip", 304),
        (packed.headers["ETag"], "identity", 200),
        (plain.headers["ETag"], "identity", 304),
        (plain.headers["ETag"], "gzip", 200),
    ]:
        headers = {"If-None-Match": tag, "Accept-Encoding": accepted}
        assert client.get(SOCKET_IO, headers=headers).status_code == status


def test_tags_are_the_same_in_every_process(directory: Path) -> None:
    headers = {"Accept-Encoding": "gzip"}
    one, other = (Client(ClientFiles(directory)).get(SOCKET_IO, headers=headers) for _ in "ab")
    assert one.headers["ETag"] == other.headers["ETag"]
    assert one.data == other.data


def test_a_file_that_changed_is_served_anew(directory: Path, client: Client) -> None:
    tag = client.get(SOCKET_IO).headers["ETag"]
    (directory / "socket.io.js").write_bytes(b"edited")
    response = client.get(SOCKET_IO, headers={"If-None-Match": tag})
    assert response.status_code == 200
    assert response.data == b"edited"
    replacement = directory / "replacement"
    replacement.write_bytes(b"EDITED")
    os.replace(replacement, directory / "socket.io.js")
    assert client.get(SOCKET_IO).data == b"EDITED"


def test_a_file_that_was_not_built_is_an_error_that_says_so(
    directory: Path, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.get(SOCKET_IO)
    (directory / "socket.io.js").unlink()
    with caplog.at_level(logging.ERROR, "backboneio"):
        response = client.get(SOCKET_IO)
    assert response.status_code == 500
    assert b"socket.io.js is not installed" in response.data
    assert str(directory) not in response.text
    assert "pip install -e ." in caplog.text
    assert client.get("/backbone.io.js").status_code == 200


def test_threads_get_whole_files_while_they_change(directory: Path) -> None:
    files = ClientFiles(directory)
    versions = [bytes([65 + number]) * 100_000 for number in range(20)]
    done = threading.Event()

    def read() -> set[tuple[bytes, str]]:
        client, seen = Client(files), set()
        while True:
            last = done.is_set()
            response = client.get(SOCKET_IO)
            seen.add((response.data, response.headers["ETag"]))
            if last:
                return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for version in versions:
            (directory / "new").write_bytes(version)
            os.replace(directory / "new", directory / "socket.io.js")
        done.set()
        seen = set().union(*(reader.result() for reader in readers))
    first = SCRIPT + b"socket.io.js"
    assert {data for data, _ in seen} <= {first, *versions}
    assert len(dict(seen)) == len(seen), "one content, one tag"
    assert len({tag for _, tag in seen}) == len(seen), "one tag, one content"


@pytest.fixture
def port() -> Iterator[int]:
    server = make_server("127.0.0.1", 0, ClientFiles(), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        names = [name.lower() for name, _ in response.getheaders()]
        assert len(names) == len(set(names)), "each header once"
        return response.status, response.read()
    finally:
        connection.close()


def test_the_built_files_over_a_real_server(port: int) -> None:
    for name in sorted(ClientFiles.names):
        status, body = fetch(port, f"/socket.io/{name}")
        assert status == 200, f"{name}: build it with 'pip install -e .'"
        assert body
        if name.startswith("socket.io.") and name.endswith(".js"):
            assert b"Socket.IO v4" in body[:100]
            assert body.rstrip().endswith(f"sourceMappingURL={name}.map".encode())


def test_the_libraries_are_those_that_the_tests_run_with(port: int) -> None:
    node_modules = Path(__file__).parents[1] / "js" / "node_modules"
    _, licences = fetch(port, "/socket.io/vendor/LICENSES.txt")
    lock = json.loads((node_modules.parent / "package-lock.json").read_text())
    for package, served, path in [
        ("backbone", "vendor/backbone.js", "backbone.js"),
        ("underscore", "vendor/underscore.js", "underscore-umd.js"),
        ("jquery", "vendor/jquery.js", "dist/jquery.js"),
        ("socket.io-client", "socket.io.js", "dist/socket.io.js"),
    ]:
        _, body = fetch(port, f"/socket.io/{served}")
        assert body == (node_modules / package / path).read_bytes()
        version = lock["packages"][f"node_modules/{package}"]["version"]
        assert f"{package} {version}\n\n".encode() in licences
        assert version.encode() in body
    assert licences.count(b"Permission is hereby granted, free of charge") == 4


def test_a_checkout_serves_the_script_that_is_being_edited(port: int) -> None:
    source = Path(__file__).parents[1] / "js" / "dist" / "backbone.io.js"
    status, body = fetch(port, "/socket.io/backbone.io.js")
    assert status == 200
    assert body == source.read_bytes()
