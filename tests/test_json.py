"""JSON: strict in both directions."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backboneio import json, volume
from backboneio.plain import NotJSON

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@dataclasses.dataclass
class Point:
    x: int
    y: decimal.Decimal


class Color(enum.Enum):
    RED = "red"
    HUGE = 2**60


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True]}, '{"a":[1,2.5,null,true]}'),
        ("grüße 🙂", '"grüße 🙂"'),
        ("\ud800", '"\\ud800"'),  # half a character, which UTF-8 cannot carry
        (datetime.datetime(2024, 5, 6, 7, 8, 9), '"2024-05-06T07:08:09"'),
        (datetime.date(2024, 5, 6), '"2024-05-06"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Point(1, decimal.Decimal("2.0")), '{"x":1,"y":"2.0"}'),
        (Color.RED, '"red"'),
        ((1, 2), "[1,2]"),
    ],
)
def test_values_become_text_that_utf8_can_carry(value: Any, text: str) -> None:
    assert json.dumps(value) == text
    json.dumps(value).encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53 - 1, "9007199254740991"),
        (2**53, '"9007199254740992"'),
        (1 - 2**53, "-9007199254740991"),
        (-(2**53), '"-9007199254740992"'),
        ({"id": 653247040368672769, "n": [1, 2**70]}, None),
        ((2**53, True, None), '["9007199254740992",true,null]'),
        ({2**60: 1}, '{"1152921504606846976":1}'),
        (Point(2**60, decimal.Decimal(1)), '{"x":"1152921504606846976","y":"1"}'),
        (Color.HUGE, '"1152921504606846976"'),
        ({"a": "9007199254740993", "b": 1e300, "c": 0.1234567890123456}, None),
        ([2**60, "\ud800"], '["1152921504606846976","\\ud800"]'),
    ],
)
@pytest.mark.parametrize("dumps", ["standard_dumps", "fast_dumps"])
def test_integers_that_a_browser_would_round_travel_as_strings(
    dumps: str, value: Any, text: str | None
) -> None:
    if text is None:
        big = {
            "id": "653247040368672769",
            "n": [1, "1180591620717411303424"],
        }
        expected = big if "id" in value else value
        assert json.loads(getattr(json, dumps)(value)) == expected
    else:
        assert getattr(json, dumps)(value) == text


@pytest.mark.parametrize(
    ("sent", "stored", "kept"),
    [
        (str(2**60), 2**60, 2**60),
        (str(-(2**60)), -(2**60), -(2**60)),
        (str(2**60 + 1), 2**60, str(2**60 + 1)),  # another one: what was sent counts
        ("0" + str(2**60), 2**60, "0" + str(2**60)),
        ("7", 7, "7"),  # a number that travels as one; somebody has made a string of it
        (str(2**60), str(2**60), str(2**60)),
        (
            {"a": [str(2**60), "x"], "new": 1},
            {"a": [2**60], "gone": 2},
            {"a": [2**60, "x"], "new": 1},
        ),
        ({"a": str(2**60)}, [2**60], {"a": str(2**60)}),
        ([{"a": str(2**60)}], [{"a": 2**60}], [{"a": 2**60}]),
    ],
)
def test_they_come_back_as_what_they_were(sent: Any, stored: Any, kept: Any) -> None:
    result = json.as_stored(sent, stored)
    assert result == kept
    assert repr(result) == repr(kept)


def _circle() -> Any:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", Point, float("nan"), float("inf"), _circle()]
)
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        json.dumps({"value": value})


class Strange:
    """Has no JSON."""


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ({"tags": [1, 2, {3}]}, TypeError, "model.tags[2]: a set cannot be sent as JSON"),
        ({"a": b"x"}, TypeError, "model.a: binary data cannot be sent as JSON"),
        ([Strange()], TypeError, "model[0]: a Strange cannot be sent as JSON"),
        ({"a": object}, TypeError, "model.a: the class object cannot be sent as JSON"),
        ({1, 2}, TypeError, "model: a set cannot be sent as JSON"),
        ({"a": ({"b": math.nan},)}, ValueError, "model.a[0].b: nan cannot be sent as JSON"),
        ({"a": -math.inf}, ValueError, "model.a: -inf cannot be sent as JSON"),
        ({"a": Point(1, {2})}, TypeError, "model.a.y: a set cannot be sent as JSON"),  # type: ignore[arg-type]
        ({(1, 2): 3}, TypeError, "model[(1, 2)]: the key is not a string"),
        ({math.nan: 3}, ValueError, "model[nan]: nan cannot be sent as JSON"),
        ({"a": _circle()}, ValueError, "model.a[0]: contains itself"),
    ],
)
def test_the_field_that_is_not_json_is_named(
    value: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        json.dumps(value, "model")
    assert str(caught.value) == message


def _nested(depth: int, value: Any = None) -> Any:
    for _ in range(depth):
        value = {"a": value}
    return value


def test_what_is_nested_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^model: .*nested too deep"):
        json.dumps(_nested(200_000), "model")


def test_values_of_a_type_of_ones_own_are_sent_as_it_was_registered() -> None:
    class ObjectId:
        def __str__(self) -> str:
            return "507f1f77"

    with pytest.raises(TypeError, match=r"value\.id: an ObjectId cannot"):
        json.dumps({"id": ObjectId()})
    json.default.register(ObjectId, str)
    assert json.dumps({"id": ObjectId()}) == '{"id":"507f1f77"}'
    assert json.standard_dumps({"id": ObjectId()}) == '{"id":"507f1f77"}'


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a":-Infinity}', "", "{", "[1,]", "{'a':1}"]
)
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        json.loads(text)


def _lists(depth: int, times: int) -> str:
    """Return JSON of *times* lists, each *depth* deep, in a list."""
    return "[" + ",".join(["[" * depth + "]" * depth] * times) + "]"


NOISE = '"' + r"[[{\"[{\\" + '"'  # a string full of what is no list and no object


@pytest.mark.parametrize(
    "text",
    [
        "1",
        '"' + "[" * 100_000 + '"',
        '"' + r"\"[" * 60_000 + '"',
        _lists(100, 300),
        _lists(1, 49_999),
        "[" + ",".join([f'{{"{{[":{NOISE}}}'] * 11_600) + "]",
    ],
)
def test_what_clients_send_is_parsed(text: str) -> None:
    assert json.parse(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        _lists(100, 500),
        _lists(1, 50_000),
        "[" + ",".join(["{}"] * 50_000) + "]",
        f"[{NOISE},{_lists(1, 50_000)}]",
        '["' + "]" * 500 + '",' + _lists(1, 50_000) + "]",
        '{"a":' * 50_001 + "1" + "}" * 50_001,
    ],
)
def test_too_much_is_refused_before_it_is_parsed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "_decode", None)
    with pytest.raises(NotJSON, match="more than 50000 lists and objects in one message"):
        json.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" + "1," * 100_000 + "1]",
        f"[{NOISE}" + ',"a,b"' * 100_000 + "]",
        _lists(1, 40_000)[:-1] + ",1.5" * 60_000 + "]",
        "{" + ",".join(f'"{n}":{n}' for n in range(100_001)) + "}",
    ],
)
def test_too_many_values_are_refused_before_they_are_parsed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "_decode", None)
    with pytest.raises(NotJSON, match="more than 100000 values in one message"):
        json.parse(text)


@pytest.mark.parametrize("text", ["[" + "1," * 99_998 + "1]", '"' + "," * 200_000 + '"'])
def test_as_many_values_as_there_may_be_are_parsed(text: str) -> None:
    assert json.parse(text) == json.loads(text)


@pytest.mark.parametrize("before", ["[", "[" + "1,2," * 60])
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_may_have_a_thousand_digits(before: str, sign: str) -> None:
    text = f'[{before[1:]}{sign}{"9" * 1_000},"{"8" * 5_000}",{"7" * 5_000}.5e-4990]'
    assert json.parse(text) == json.loads(text)


@pytest.mark.parametrize("before", ["", "[1,2," * 60])
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_too_many_digits_is_refused(before: str, sign: str) -> None:
    for digits in (1_001, 4_000, 100_000):
        with pytest.raises(NotJSON, match="an integer of more than 1000 digits"):
            json.parse(before + sign + "9" * digits)


@given(st.text(alphabet='[]{}"\\,:a0\n ', max_size=300), st.integers(1, 7), st.integers(1, 9))
def test_no_text_hides_how_much_it_holds(text: str, chunk: int, most: int) -> None:
    """Whatever the parser would make of it, also when it is looked at in pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume, "_CHUNK", chunk)
        patch.setattr(volume, "_LIGHT", 0)
        patch.setattr(volume, "MAX_CONTAINERS", most)
        patch.setattr(volume, "MAX_VALUES", 2 * most)
        try:
            value = json.parse(text)
        except ValueError:
            return
    assert _containers(value) <= most
    assert _values(value) <= 2 * most + 1


@given(values, st.integers(1, 7))
def test_what_is_not_too_much_passes(value: Any, chunk: int) -> None:
    text = json.dumps(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume, "_CHUNK", chunk)
        patch.setattr(volume, "_LIGHT", 0)
        patch.setattr(volume, "MAX_CONTAINERS", _containers(value))
        patch.setattr(volume, "MAX_VALUES", _values(value))
        assert json.parse(text) == value


def _values(value: Any) -> int:
    """What is empty counts twice."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + (sum(map(_values, value)) or 1) if isinstance(value, list) else 1


def _containers(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(_containers, value)) if isinstance(value, list) else 0
