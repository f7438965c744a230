"""How much JSON may hold: what is let through takes no more than it may, on this Python."""

from __future__ import annotations

import gc
import itertools
import json
import string
import tracemalloc
from collections.abc import Callable, Iterable

import pytest

from backboneio import volume
from backboneio.json import loads, parse
from backboneio.plain import NotJSON

EMOJI = "\U0001f642"
#: Bytes of the message that may have it.
MEGABYTE = 1_000_000


def _pairs(keys: Iterable[str]) -> str:
    return "{" + ",".join(f'"{key}":300' for key in keys) + "}"


def _push_out(key: str) -> str:
    """Return a key that makes orjson forget another, if there is one."""
    for letters in itertools.product(string.ascii_letters, repeat=3):
        other = "".join(letters)
        rows = loads(f'[{{"{key}":1}},{{"{other}":1}},{{"{key}":1}}]')
        if next(iter(rows[0])) is not next(iter(rows[2])):
            return other
    return "0"


#: Keys that orjson, which remembers so many, makes anew each time.
FORGOTTEN = ("key", _push_out("key"))

#: What there may be much of.
MANY: dict[str, Callable[[int], str]] = {
    "empty objects": lambda n: "{}",
    "objects": lambda n: '{"k":1}',
    "objects whose keys differ": lambda n: f'{{"k{n}":{n + 300}}}',
    "objects whose keys are forgotten": lambda n: f'{{"{FORGOTTEN[n % 2]}":null}}',
    "objects whose keys are long": lambda n: '{"' + "k" * 65 + '":1}',
    "objects of more": lambda n: '{"a":300,"b":300,"c":300,"d":300,"e":300,"f":300}',
    "objects of many": lambda n: _pairs("abcdefghijkl"),
    "objects of very many": lambda n: _pairs(map(str, range(43))),
    "objects in objects": lambda n: '{"a":' * 30 + "1" + "}" * 30,
    "empty lists": lambda n: "[]",
    "lists": lambda n: "[777]",
    "lists of many": lambda n: "[" + "777," * 8 + "777]",
    "lists of very many": lambda n: "[" + "777," * 32 + "777]",
    "lists of one string": lambda n: '["ab"]',
    "lists in lists": lambda n: "[" * 30 + "7" + "]" * 30,
    "pairs": lambda n: f"[{n / 7:.6f},{n / 3:.6f}]",
    "short strings": lambda n: '"ab"',
    "emoji": lambda n: f'"{EMOJI}"',
    "escaped emoji": lambda n: r'"\ud83d\ude42"',
    "letters of two bytes": lambda n: '"\u20ac\u20ac"',
    "letters of one": lambda n: '"\xe9\xe9"',
    "backslashes": lambda n: r'"\\\\"',
    "backslashes beside emoji": lambda n: '"' + r"\\" * 100 + f'","{EMOJI}{"x" * 100}"',
    "long text": lambda n: f'"{EMOJI}{"x" * 100}"',
    "long text beside short": lambda n: f'"{EMOJI}{"x" * 100}","abcd"',
    "integers": lambda n: str(10**18 + n),
    "short integers": lambda n: "777",
}
KEYS: dict[str, Callable[[int], str]] = {
    "keys": lambda n: f'"k{n}":1',
    "emoji as keys": lambda n: f'"{EMOJI}{n}":1',
    "emoji as keys and values": lambda n: f'"{EMOJI}{n}":"{EMOJI}{n}"',
}
SHAPES = {**MANY, **KEYS}


def _text(shape: str, count: int) -> str:
    begin, end = "{}" if shape in KEYS else "[]"
    items = ",".join(map(SHAPES[shape], range(count)))
    return f'["sync",{{"model":{{"a":{begin}{items}{end}}}}}]'


def _passes(text: str) -> bool:
    try:
        volume.check_volume(text)
    except NotJSON:
        return False
    return len(text.encode()) <= MEGABYTE


def _most(shape: str) -> str:
    """Return the longest text of a shape that is let through, or nearly so."""
    step = count = 65_536
    while step > 500:
        step //= 2
        count += step if _passes(_text(shape, count)) else -step
    while not _passes(text := _text(shape, count)):
        count -= 500
    return text


@pytest.mark.parametrize("shape", SHAPES)
def test_what_passes_takes_no_more_than_it_may(shape: str) -> None:
    text = _most(shape)
    gc.collect()
    tracemalloc.start()
    try:
        value = parse(text)
        most = 1.03 * (volume.MAX_PARSED + len(text))
        del text  # of which orjson keeps a copy beside it
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < most
    finally:
        tracemalloc.stop()
    assert value[0] == "sync"


@pytest.mark.parametrize("shape", ["objects", "emoji", "keys", "emoji as keys and values"])
def test_a_megabyte_of_what_is_small_is_refused(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _text(shape, 49_000)
    monkeypatch.setattr("backboneio.json._decode", None)
    with pytest.raises(
        NotJSON, match=rf"more than {volume.MAX_PARSED + len(text)} bytes when it is "
    ):
        parse(text)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2_000, 6_000, 20_000])
def test_what_is_not_weighed_would_pass(shape: str, count: int) -> None:
    text = _text(shape, count)
    if _passes(text):
        weight, again = volume.weigh(text)
        most = volume.MAX_PARSED + len(text)
        assert weight <= most
        assert volume.check_volume(text) == (weight + again > most)


@pytest.mark.parametrize(
    "text", [":", "]", "[}}", '"', '"":', '{"":' + ":" * 20, "[," + "]" * 20], ids=repr
)
def test_what_is_no_json_is_not_weighed_to_its_end(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "_weigh_shape", None)
    with pytest.raises(NotJSON, match="more colons, ends or strings than values"):
        volume.weigh(text * (MEGABYTE // len(text)))


@pytest.mark.parametrize("space", ["", " ", "\n  "])
def test_json_is_weighed_wherever_it_is_looked_at(space: str) -> None:
    """In part after part, each of which may end anywhere."""
    pair = f'{space}"a{{"{space}:{space}"}}]:"{space}'
    for count in range(1, 40):
        rows = f"{{{','.join([pair] * count)}}}"
        text = f"[{space}{','.join([rows] * (200_000 // len(rows)))}{space}]"
        json.loads(text)
        assert volume.weigh(text)[0] > 0


def test_what_people_send_passes() -> None:
    rows = [
        {
            "id": number,
            "title": f"a thing to do, number {number}",
            "done": False,
            "user": f"user{number % 7}",
            "at": f"2026-11-26T07:{number % 60:02}:00Z",
            "note": "\xe9" * 40,
        }
        for number in range(2_000)
    ]
    line = {"type": "LineString", "coordinates": [[n / 7, n / 3] for n in range(15_000)]}
    words = [["a thing to do" * 10, EMOJI][:: 1 if number % 100 else -1] for number in range(6_000)]
    points = [{"x": number / 8, "y": number / 4} for number in range(12_000)]
    ids = [f"{number:08}" for number in range(48_000)]
    for value in (rows, line, words, points, ids, [*range(97_000)]):
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            assert parse(text) == value, text[:50]
    for value in (["x" * 999_000], [EMOJI * 240_000], [EMOJI + "x" * 999_000]):
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            assert parse(text) == value, text[:50]


def test_who_lets_longer_messages_in_can_parse_them() -> None:
    """As ``max_http_buffer_size`` does."""
    for value in ("x" * 6_000_000, EMOJI * 2_000_000, ["a word" * 100] * 8_000):
        assert parse(json.dumps(value)) == value


@pytest.mark.parametrize("chunk", [7, 1_000])
def test_pieces_of_text_do_not_hide_strings(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume, "_CHUNK", chunk)
    with monkeypatch.context() as patch, pytest.raises(NotJSON, match="bytes when it is parsed"):
        patch.setattr(volume, "MAX_PARSED", 100_000)
        patch.setattr(volume, "_MAX_PARSED_A_CHARACTER", 0)
        volume.check_volume('["' + "\u20ac" * 150_000 + '"]')
    volume.check_volume('["' + "x" * 4_000 + '",' * 5 + '"]')


def test_what_is_no_json_does_not_make_it_light() -> None:
    """What stops the parser in the end comes after all that it has made."""
    heavy = _text("objects", 49_000)[:-3]
    for end in (r",\u" * 200_000, r',"\u\u\u"' * 50_000, '"' + r"\u" * 300_000 + '"'):
        with pytest.raises(NotJSON, match="in one message"):
            parse(heavy + end)
