"""Draft and Change: who hears them, and that nobody can change them."""

from __future__ import annotations

from typing import Any

import pytest

from backboneio.model import Draft, id_key


@pytest.mark.parametrize(
    ("channels", "hearers"),
    [
        (None, [None, "a", "b"]),
        ((), []),
        ((None,), [None]),
        (("a",), ["a"]),
        (("a", None), [None, "a"]),
    ],
)
def test_who_hears_a_change(channels: Any, hearers: list[Any]) -> None:
    draft = Draft.of("update", {}, channels=channels)
    assert [channel for channel in (None, "a", "b") if draft.told(channel)] == hearers


def test_nobody_can_change_what_others_are_told() -> None:
    model = {"list": [1]}
    change = Draft.of("update", model).at(1)
    model["list"].append(2)
    change.model["list"].append(3)
    assert change.model == {"list": [1]}
    with pytest.raises(AttributeError):
        change.rev = 2  # type: ignore[misc]


def test_a_change_is_its_draft_at_a_place() -> None:
    draft = Draft.of("create", {"id": 1}, channels=("a",), origin="sid", channel="a", whole=True)
    change = draft.at(7)
    assert change.rev == 7
    for field in Draft._fields[:-1]:
        assert getattr(change, field) == getattr(draft, field)


@pytest.mark.parametrize(
    ("ids", "key"),
    [
        ((1, 1.0, "1"), "1"),
        (("a",), "a"),
        ((1.5,), "1.5"),
        ((-0.0, 0), "0"),
        # As JavaScript writes them, and not as Python does.
        ((1e16, 10**16, "10000000000000000"), "10000000000000000"),
        ((-1.2345678901234567e20,), "-123456789012345670000"),
        ((1e21, "1e+21"), "1e+21"),
        ((1e-5, "0.00001"), "0.00001"),
        ((1.5e-6,), "0.0000015"),
        ((1e-7, "1e-7"), "1e-7"),
        ((5e-324, "5e-324"), "5e-324"),
    ],
)
def test_ids_that_are_one_to_backbone_are_one_key(ids: tuple[Any, ...], key: str) -> None:
    assert {id_key(one) for one in ids} == {key}
