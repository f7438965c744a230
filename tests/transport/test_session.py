"""The protocol without I/O: states and moves, what packets mean, and the heartbeat."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backboneio.transport.session import (
    MOVES,
    Event,
    Move,
    ProtocolError,
    Session,
    State,
)


def in_state(state: State) -> Session:
    """A session that has come as far as that, by moves."""
    ways: dict[State, list[Move]] = {
        State.CONNECTING: [],
        State.POLLING: [Move.OPEN_POLLING],
        State.UPGRADING: [Move.OPEN_POLLING, Move.PROBE],
        State.WEBSOCKET: [Move.OPEN_WEBSOCKET],
        State.CLOSING: [Move.OPEN_POLLING, Move.END],
        State.CLOSED: [Move.OPEN_POLLING, Move.END, Move.ENDED],
    }
    session = Session("sid")
    for move in ways[state]:
        session.move(move)
    assert session.state is state
    return session


@pytest.mark.parametrize(("state", "move"), list(itertools.product(State, Move)))
def test_moves_are_those_of_the_table(state: State, move: Move) -> None:
    session = in_state(state)
    if move in MOVES[state]:
        session.move(move)
        assert session.state is MOVES[state][move]
    else:
        with pytest.raises(RuntimeError, match=state.value):
            session.move(move)
        assert session.state is state


def test_every_way_ends() -> None:
    """From everywhere there is a way to CLOSED, and none from there."""
    assert MOVES[State.CLOSED] == {}
    for state in set(State) - {State.CLOSED}:
        session = in_state(state)
        while session.state is not State.CLOSED:
            session.move(Move.ENDED if session.state is State.CLOSING else Move.END)


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        (State.CONNECTING, True),
        (State.POLLING, False),
        (State.UPGRADING, False),
        (State.WEBSOCKET, True),
        (State.CLOSING, True),
        (State.CLOSED, True),
    ],
)
def test_http_requests_have_a_place_while_polling(state: State, refused: bool) -> None:
    assert (in_state(state).refusal() is not None) is refused


@pytest.mark.parametrize(
    ("packet", "event", "data"),
    [
        ("4hello", Event.MESSAGE, "hello"),
        ("4", Event.MESSAGE, ""),
        (b"\x00\x01", Event.MESSAGE, b"\x00\x01"),
        (b"", Event.MESSAGE, b""),
        ("1", Event.CLOSE, ""),
        ("3", Event.NOTHING, ""),
        ("0{}", Event.NOTHING, ""),
        ("5", Event.NOTHING, ""),
        ("6", Event.NOTHING, ""),
    ],
)
def test_what_packets_mean(packet: str | bytes, event: Event, data: str | bytes) -> None:
    session = in_state(State.WEBSOCKET)
    assert session.receive(packet) == (event, data)
    assert session.greeted is (event is Event.MESSAGE)


@pytest.mark.parametrize("packet", ["", "2", "2probe", "7", "b64", "hello", "\U0001f600"])
def test_packets_that_no_client_may_send(packet: str) -> None:
    with pytest.raises(ProtocolError):
        in_state(State.POLLING).receive(packet)


def test_an_upgrade() -> None:
    session = in_state(State.POLLING)
    assert session.receive_probe("2probe") == "3probe"
    assert session.state is State.UPGRADING
    assert session.receive_probe("5") is None
    assert session.state is State.WEBSOCKET


@pytest.mark.parametrize("words", [["5"], ["4hi"], [b"2probe"], ["2probe", "2probe"], ["2"]])
def test_a_probe_that_fails(words: list[str | bytes]) -> None:
    session = in_state(State.POLLING)
    *steps, last = words
    for step in steps:
        session.receive_probe(step)
    with pytest.raises(ProtocolError):
        session.receive_probe(last)
    session.probe_lost()
    assert session.state is State.POLLING
    assert session.receive_probe("2probe") == "3probe"


def test_the_heartbeat() -> None:
    session = in_state(State.WEBSOCKET)
    assert session.receive("3")[0] is Event.NOTHING  # unasked
    first = session.ping()
    assert session.awaits_pong(first)
    assert session.receive("3")[0] is Event.PONG
    assert not session.awaits_pong(first)
    assert session.receive("3")[0] is Event.NOTHING  # and once
    second = session.ping()
    assert not session.awaits_pong(first), "a late look at the first ping"
    assert session.awaits_pong(second)


@given(st.lists(st.sampled_from(["ping", "pong", "look"]), max_size=30))
def test_an_answered_ping_is_never_waited_for(steps: list[str]) -> None:
    """Whatever the two threads do in between, who has answered is not taken for silent."""
    session = in_state(State.WEBSOCKET)
    asked = answered = 0
    for step in steps:
        if step == "ping" and answered == asked:  # one at a time
            asked = session.ping()
        elif step == "pong":
            event, _ = session.receive("3")
            assert (event is Event.PONG) is (answered < asked)
            answered = asked
        elif asked:
            assert session.awaits_pong(asked) is (answered < asked)


@given(st.lists(st.one_of(st.text(max_size=8), st.binary(max_size=8)), max_size=20))
def test_whatever_comes_is_an_event_or_refused(packets: list[str | bytes]) -> None:
    session = in_state(State.POLLING)
    for packet in packets:
        for take in (session.receive, session.receive_probe):
            try:
                take(packet)
            except ProtocolError:
                session.probe_lost()
        if session.state is State.WEBSOCKET:
            session = in_state(State.POLLING)
