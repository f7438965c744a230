"""Plain values: what a client may send."""

from __future__ import annotations

from typing import Any

import pytest

from backboneio.plain import NotJSON, check


def _nested(depth: int, value: Any = None) -> Any:
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [None, 1, 1.5, "x", True, [], {}, {"a": [{"b": [None]}]}, _nested(64)],
)
def test_plain_json_passes(value: Any) -> None:
    check(value, "model")


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
    with pytest.raises(NotJSON, match=where):
        check(value, "model")


def test_a_path_of_long_keys_stays_short() -> None:
    value: Any = float("nan")
    for _ in range(60):
        value = {"k" * 10_000: value}
    with pytest.raises(NotJSON) as caught:
        check(value, "model")
    assert len(str(caught.value)) < 1000
