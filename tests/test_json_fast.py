"""orjson, where it is installed, changes nothing but the time that JSON takes."""

from __future__ import annotations

import json as standard
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backboneio import json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def outcome(function: Any, argument: Any) -> Any:
    """What a call returns, or that it is refused; -0.0 and 0.0, 1 and True are told apart."""
    try:
        return repr(function(argument))
    except (TypeError, ValueError, RecursionError):
        return "refused"


@given(values)
@example(2**70)
@example({"a": [math.nan, None]})
@example({1: "a", 2.5: "b", None: "c"})
@example("\ud800")
@example([1e16, 1e-7, -0.0, 5e-324, 1.7976931348623157e308])
def test_the_same_values_are_encoded(value: Any) -> None:
    def there_and_back(dumps: Any) -> Any:
        return lambda value: json.loads(dumps(value))

    standard = outcome(there_and_back(json.standard_dumps), value)
    assert outcome(there_and_back(json.fast_dumps), value) == standard


@given(values.map(standard.dumps) | st.text('[]{}:,"\\\\0123456789.eE+-ntu '))
@example("[9223372036854775807, 18446744073709551616, -9223372036854775809, 1e400, -0, -0.0]")
@example('{"a": 1, "a": 123456789012345678901234567890}')
@example(r'["\ud800", "\ud83d\ude00"]')
@example("[1, NaN, Infinity, -Infinity]")
@example("[" * 2000 + "]" * 2000)
def test_the_same_texts_are_decoded(text: str) -> None:
    assert outcome(json.fast_loads, text) == outcome(json.standard_loads, text)


@given(st.integers(0, 12), st.integers(19, 40), st.sampled_from("123456789"))
def test_a_huge_integer_is_found_wherever_it_is(before: int, digits: int, digit: str) -> None:
    text = f'{{"{"x" * before}":{digit * digits}}}'
    assert json.fast_loads(text) == {"x" * before: int(digit * digits)}


def test_it_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    monkeypatch.setattr(json, "fast_dumps", used.append)
    json.dumps(1)
    monkeypatch.setattr(json, "orjson", None)
    assert json.dumps(2) == "2"
    assert used == [1]
