"""Limits: what none may be."""

from __future__ import annotations

from typing import Any

import pytest

from backboneio import Limits


@pytest.mark.parametrize("limit", [-1, "1000", None, True, float("nan")])
@pytest.mark.parametrize("name", ["max_changes", "turn_timeout", "max_answer_age"])
def test_what_is_no_number_is_refused_by_name(name: str, limit: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: a number from 0 is needed, not"):
        Limits(**{name: limit})


def test_a_limit_may_be_endless() -> None:
    assert Limits(max_change_age=float("inf")).max_change_age == float("inf")
