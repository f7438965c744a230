"""Who has said nothing yet, and who of them makes room."""

from __future__ import annotations

import pytest

from backboneio.transport import TransportLimits
from backboneio.transport.newcomers import Newcomers, NoRoom


def make(most: int = 4, per_address: int = 3) -> Newcomers:
    return Newcomers(TransportLimits(max_newcomers=most, max_newcomers_per_address=per_address))


def enter(
    newcomers: Newcomers, name: str, address: str = "a", *, stays: bool = False, full: bool = False
) -> object:
    return newcomers.enter(name, address, comes_back=not stays, full=full)


def test_of_one_address_the_oldest_who_never_came_back_goes() -> None:
    newcomers = make()
    assert [enter(newcomers, name) for name in "123"] == [None] * 3
    newcomers.came_back("1")
    assert enter(newcomers, "4") == "2"
    assert enter(newcomers, "other", "b") is None
    assert len(newcomers) == 4


def test_of_all_the_oldest_who_never_came_back_goes() -> None:
    newcomers = make()
    for number in range(4):
        assert enter(newcomers, str(number), f"address {number}") is None
    assert enter(newcomers, "5", "another address") == "0"


def test_for_the_last_place_too() -> None:
    newcomers = make()
    enter(newcomers, "1")
    assert enter(newcomers, "2", "b", full=True) == "1"


def test_who_is_there_stays() -> None:
    newcomers = make()
    for number in range(3):
        enter(newcomers, str(number), stays=True)
    with pytest.raises(NoRoom):
        enter(newcomers, "3")
    with pytest.raises(NoRoom):
        enter(newcomers, "3", "b", full=True)
    assert enter(newcomers, "3", "b") is None


def test_who_has_greeted_or_left_counts_no_more() -> None:
    newcomers = make()
    for number in range(3):
        enter(newcomers, str(number))
    newcomers.discard("1")
    newcomers.discard("1")
    newcomers.discard("unknown")
    newcomers.came_back("unknown")
    assert enter(newcomers, "3") is None
    for name in ("0", "2", "3"):
        newcomers.discard(name)
    assert len(newcomers) == 0
    assert vars(newcomers)["_absent"] == vars(newcomers)["_absent_by_address"] == {}
    assert vars(newcomers)["_count"] == {}
