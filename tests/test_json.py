"""JSON: strict in both directions."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import uuid
from typing import Any

import pytest

from backboneio import json


@dataclasses.dataclass
class Point:
    x: int
    y: decimal.Decimal


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
    ],
)
def test_values_become_text_that_utf8_can_carry(value: Any, text: str) -> None:
    assert json.dumps(value) == text
    json.dumps(value).encode()


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


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a":-Infinity}', "", "{", "[1,]", "{'a':1}"]
)
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        json.loads(text)


def _nested(depth: int, value: Any = None) -> Any:
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [None, 1, 1.5, "x", True, [], {}, {"a": [{"b": [None]}]}, _nested(64)],
)
def test_plain_json_passes(value: Any) -> None:
    json.check(value, "model")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), "model: nan"),
        ({"a": [1, float("inf")]}, r"model\.a\[1\]: inf"),
        ({"a": {"__proto__": 1}}, r"model\.a\.__proto__: this key"),
        ([b"x"], r"model\[0\]: binary"),
        ({"a": {"b": bytearray()}}, r"model\.a\.b: binary"),
        (_nested(65), "nested deeper than 64"),
        ({"a": {1, 2}}, r"model\.a: a set"),
        ({"a": {1: 2}}, r"model\.a: the key 1 is not a string"),
        ({"a": [{b"x": 2}]}, r"model\.a\[0\]: the key b'x' is not a string"),
    ],
)
def test_the_message_starts_with_the_path_to_the_problem(value: Any, where: str) -> None:
    with pytest.raises(json.NotJSON, match=where):
        json.check(value, "model")


def test_a_path_of_long_keys_stays_short() -> None:
    value: Any = float("nan")
    for _ in range(60):
        value = {"k" * 10_000: value}
    with pytest.raises(json.NotJSON) as caught:
        json.check(value, "model")
    assert len(str(caught.value)) < 1000
