"""Limits: what none may be."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from backboneio import Limits
from backboneio.transport import TransportLimits


@pytest.mark.parametrize("limit", [-1, "1000", None, True, float("nan")])
@pytest.mark.parametrize("name", ["max_changes", "turn_timeout", "max_answer_age"])
def test_what_is_no_number_is_refused_by_name(name: str, limit: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: a number from 0 is needed, not"):
        Limits(**{name: limit})


def test_a_limit_may_be_endless() -> None:
    assert Limits(max_change_age=float("inf")).max_change_age == float("inf")


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Limits, "max_change", "unknown limit max_change; did you mean max_changes?"),
        (TransportLimits, "max_backlogs", "unknown limit max_backlogs; did you mean max_backlog?"),
        (Limits, "elephants", "unknown limit elephants"),
    ],
)
def test_a_limit_that_there_is_not_is_named_with_the_nearest(
    kind: type, given: str, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        kind(**{given: 1})
    assert str(caught.value) == message


@pytest.mark.parametrize("limits", [Limits(max_changes=7), TransportLimits(max_backlog=7)])
def test_limits_can_be_copied_and_pickled(limits: Any) -> None:
    assert copy.deepcopy(limits) == pickle.loads(pickle.dumps(limits)) == limits
    assert dataclasses.replace(limits) == limits
