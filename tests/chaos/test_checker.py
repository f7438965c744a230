"""The checker on histories made by hand: a good one, and one for every kind of fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .checker import Checker, report
from .history import Line


class Story:
    """A history: two clients on one channel, one of whom writes, the other hears."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.seq = 0
        self.late = 0  # nanoseconds in which nothing was written
        self.models: dict[str, Any] = {}
        for name in ("a", "b"):
            self.add(name, "connect", conn=1)
            self.add(name, "listen", channel=None, since=None)
            self.listened(name, 0)

    def add(self, who: str, kind: str, **fields: Any) -> Line:
        line = {"t": len(self.lines) + self.late, "c": who, "kind": kind, **fields}
        self.lines.append(line)
        return line

    def listened(self, who: str, rev: int, *missed: Any, **fields: Any) -> None:
        told = [list(one) for one in missed]
        line = {"channel": None, "epoch": "e", "rev": rev, "missed": told, "reset": False}
        self.add(who, "listened", **{**line, **fields})

    def fetch(self, who: str, since: int, rev: int) -> None:
        """Let a client come back which has to fetch anew."""
        self.add(who, "connect", conn=2)
        self.add(who, "listen", channel=None, since={"epoch": "e", "rev": since})
        self.listened(who, rev, reset=True)

    def invoke(self, token: str, method: str = "update") -> None:
        self.add("a", "invoke", token=token, method=method, channel=None, model={})
        self.add("a", "sent", token=token, conn=1)

    def commit(self, token: str, method: str = "update", model_id: str = "1") -> Any:
        self.seq += 1
        model = {"id": model_id, "by": token}
        self.add("server", "handled", token=token)
        self.add(
            "server",
            "commit",
            seq=self.seq,
            token=token,
            method=method,
            id=model_id,
            channels=[None],
            model=model,
        )
        if method == "delete":
            self.models.pop(model_id, None)
        else:
            self.models[model_id] = model
        return model

    def ok(self, token: str, rev: int, model_id: str = "1", **fields: Any) -> None:
        line = {"token": token, "conn": 1, "rev": rev, "model": {"id": model_id, "by": token}}
        self.add("a", "ok", **{**line, **fields})
        self.add("a", "done", token=token, error=None)

    def event(self, rev: int, by: str, who: str = "b", **fields: Any) -> None:
        line = {"method": "update", "id": "1", "by": by, "rev": rev, "channel": None}
        self.add(who, "event", **{**line, **fields})

    def view(self, by: str | None, who: str = "b", model_id: str = "1", **more: Any) -> None:
        model = None if by is None else {"id": model_id, "by": by, **more}
        self.add(who, "view", channel=None, id=model_id, by=by, model=model)

    def write(self, token: str, rev: int, method: str = "update", model_id: str = "1") -> None:
        """Do all that belongs to one write."""
        self.invoke(token, method)
        self.commit(token, method, model_id)
        self.ok(token, rev, model_id)
        self.event(rev, token, method=method, id=model_id)
        self.view(None if method == "delete" else token, model_id=model_id)

    def end(self, **shown: Any) -> None:
        self.add("server", "store", channel=None, models=dict(self.models), rev=0)
        for name in ("a", "b"):
            models = {**self.models, **shown}
            models = {key: model for key, model in models.items() if model is not None}
            self.add(name, "final", channel=None, models=models)

    def first(self) -> tuple[str, str]:
        """Return the name of the check that failed first, and what it says."""
        violations = Checker(self.lines).check()
        assert violations, "the checker found nothing"
        assert "first bad step" in report(violations, self.lines)
        return violations[0].check, violations[0].text


def test_good_history() -> None:
    story = Story()
    story.write("a-1", 1, "create")
    story.write("a-2", 2)
    # The ack is lost; the second try gets it, and meanwhile the change was replayed.
    story.invoke("a-3", "patch")
    story.commit("a-3", "patch")
    story.event(3, "a-3")
    story.add("a", "connect", conn=2)
    story.add("a", "listen", channel=None, since={"epoch": "e", "rev": 2})
    story.add("a", "sent", token="a-3", conn=2)
    story.listened("a", 3, ("update", "1", "a-3", 3))
    story.view("a-3", "a")
    story.ok("a-3", 3, conn=2)
    # A read, of which b hears later things first.
    story.add("b", "invoke", token="b-1", method="read", channel=None, model={})
    story.write("a-4", 4, "delete")
    story.write("a-5", 5, "create")
    story.add("b", "ok", token="b-1", conn=1, rev=3, rows=[["1", "a-3"]], whole=True)
    story.add("b", "done", token="b-1", error=None)
    story.invoke("a-6")
    error = {"name": "NotFound", "message": "there is no model 2"}
    story.add("a", "fail", token="a-6", conn=2, error=error)
    story.add("a", "done", token="a-6", error="NotFound")
    story.end()
    assert Checker(story.lines).check() == []


def acknowledged_and_not_committed(story: Story) -> None:
    story.invoke("a-1")
    story.ok("a-1", 1)


def committed_twice(story: Story) -> None:
    story.invoke("a-1")
    story.commit("a-1")
    story.commit("a-1")
    story.ok("a-1", 2)


def refused_and_committed(story: Story) -> None:
    story.invoke("a-1")
    story.commit("a-1")
    story.add("a", "fail", token="a-1", conn=1, error={"name": "Teapot", "message": "no"})


def announced_twice(story: Story) -> None:
    story.write("a-1", 1)
    story.event(2, "a-1")


def told_something_else(story: Story) -> None:
    story.invoke("a-1")
    story.commit("a-1")
    story.ok("a-1", 1, model={"id": "1", "by": "a-1", "n": 1})


def never_answered(story: Story) -> None:
    story.invoke("a-1")


def answered_twice(story: Story) -> None:
    story.write("a-1", 1)
    story.add("a", "done", token="a-1", error=None)


def unclear_error(story: Story) -> None:
    story.invoke("a-1")
    story.add("a", "fail", token="a-1", conn=1, error={"name": "KeyError", "message": "'x'"})


def unavailable_after_a_kick(story: Story) -> None:
    """A copy of what is not done, since its client was thrown out while it waited, is done."""
    story.invoke("a-1")
    story.add("server", "kicked", client="a", conn=1)
    story.add("a", "connect", conn=2)
    story.add("a", "sent", token="a-1", conn=2)
    error = {"name": "Unavailable", "message": "the answer was forgotten"}
    story.add("a", "fail", token="a-1", conn=2, error=error)
    story.add("a", "done", token="a-1", error="Unavailable")


def leaking_error(story: Story) -> None:
    story.invoke("a-1")
    error = {"name": "InternalError", "message": "leak: the inside"}
    story.add("a", "fail", token="a-1", conn=1, error=error)


def handled_out_of_order(story: Story) -> None:
    story.invoke("a-1")
    story.invoke("a-2")
    story.commit("a-2")
    story.commit("a-1")


def announced_out_of_order(story: Story) -> None:
    story.invoke("a-1")
    story.invoke("a-2")
    story.commit("a-1")
    story.commit("a-2")
    story.ok("a-2", 1)
    story.ok("a-1", 2)


def told_differently(story: Story) -> None:
    story.write("a-1", 1)
    story.event(2, "a-2")
    story.event(2, "a-3", "a")


def event_twice(story: Story) -> None:
    story.write("a-1", 1)
    story.event(1, "a-1")


def events_out_of_order(story: Story) -> None:
    story.write("a-1", 1)
    story.event(3, "x-3", "a")
    story.event(2, "x-2", "a")


def ack_after_newer_event(story: Story) -> None:
    story.invoke("a-1")
    story.commit("a-1")
    story.event(2, "x-2", "a")
    story.ok("a-1", 1)


def replayed_what_was_known(story: Story) -> None:
    story.write("a-1", 1)
    story.add("b", "connect", conn=2)
    story.add("b", "listen", channel=None, since={"epoch": "e", "rev": 1})
    story.listened("b", 1, ("update", "1", "a-1", 1))


def gap_between_replay_and_live(story: Story) -> None:
    story.write("a-1", 1)
    story.add("b", "connect", conn=2)
    story.add("b", "listen", channel=None, since={"epoch": "e", "rev": 1})
    story.invoke("a-2")
    story.commit("a-2")
    story.ok("a-2", 2)
    story.listened("b", 2)


def told_to_nobody(story: Story) -> None:
    story.commit("emit-1")


def told_to_nobody_who_fetched(story: Story) -> None:
    """Each rev is known to be another change's."""
    story.commit("emit-1", model_id="2")
    story.write("a-1", 1)
    story.fetch("a", 1, 2)
    story.fetch("b", 1, 2)
    story.write("a-2", 2)


def told_to_nobody_before_a_later_one(story: Story) -> None:
    """It was committed before rev 1, which everybody was told."""
    story.commit("emit-1")
    story.write("a-1", 1)
    story.fetch("a", 1, 2)
    story.fetch("b", 1, 2)
    story.write("a-2", 3)


def told_to_nobody_since_one_fetched(story: Story) -> None:
    story.write("a-1", 1)
    story.commit("emit-1", model_id="2")
    story.fetch("a", 1, 2)
    story.write("a-2", 3)


def not_replayed(story: Story) -> None:
    story.write("a-1", 1)
    story.write("a-2", 2)
    story.lines = [line for line in story.lines if not (line["c"] == "b" and line.get("rev") == 1)]


def heard_what_was_not_asked_for(story: Story) -> None:
    story.event(1, "x-1", channel="secret")


def heard_after_being_taken_out(story: Story) -> None:
    story.add("b", "taken-out", channel=None)
    story.write("a-1", 1)


def read_behind_its_rev(story: Story) -> None:
    story.write("a-1", 1)
    story.write("a-2", 2)
    story.add("b", "invoke", token="b-1", method="read", channel=None, model={})
    story.add("b", "ok", token="b-1", conn=1, rev=2, rows=[["1", "a-1"]], whole=True)


def read_without_a_model(story: Story) -> None:
    story.write("a-1", 1)
    story.add("b", "invoke", token="b-1", method="read", channel=None, model={})
    story.add("b", "ok", token="b-1", conn=1, rev=1, rows=[], whole=True)


def older_version_shown(story: Story) -> None:
    story.write("a-1", 1)
    story.write("a-2", 2)
    story.view("a-1")


def deleted_model_comes_back(story: Story) -> None:
    story.write("a-1", 1)
    story.write("a-2", 2, "delete")
    story.view("a-1")


def different_in_the_end(story: Story) -> None:
    story.write("a-1", 1)
    story.end(**{"1": {"id": "1", "by": "a-0"}})


def left_over_in_the_end(story: Story) -> None:
    story.write("a-1", 1, "delete")
    story.end(**{"1": {"id": "1", "by": "a-0"}})


def attribute_stays(story: Story) -> None:
    story.write("a-1", 1)
    story.view("a-1", toString="left out by a-1")


def refused_and_shown_after_a_fetch(story: Story) -> None:
    story.write("a-1", 1)
    story.add("a", "invoke", token="a-2", method="update", channel=None, model={"id": "1"})
    story.add("a", "sent", token="a-2", conn=1)
    story.view("a-1", "a", n="set in advance")
    story.add("a", "fail", token="a-2", conn=1, error={"name": "Conflict", "message": "no"})
    story.view("a-1", "a", n="set in advance")
    story.add("a", "invoke", token="a-3", method="read", channel=None, model={})
    story.add("a", "sent", token="a-3", conn=1)
    story.add("a", "ok", token="a-3", conn=1, rev=1, rows=[["1", "a-1"]], whole=True)
    story.view("a-1", "a", n="still there")


def two_models_become_one(story: Story) -> None:
    story.write("a-1", 1, "create", str(2**53))
    story.write("a-2", 2, "create", str(2**53 + 1))
    story.event(2, "a-2", "a", id=str(2**53))


def id_that_never_was(story: Story) -> None:
    story.write("a-1", 1, "create", str(2**53 + 1))
    story.view("a-1", model_id="9007199254740994")


def done_after_the_kick(story: Story) -> None:
    story.add("server", "kicked", client="a", conn=1)
    story.invoke("a-1")
    story.add("server", "handled", token="a-1", conn=1)


def done_after_a_kick_from_another_thread(story: Story) -> None:
    story.add("server", "kicked", client="a", conn=1, grace=1e-9)
    story.invoke("a-1")
    story.add("server", "handled", token="a-1", conn=1)


def heard_after_the_kick(story: Story) -> None:
    story.add("server", "kicked", client="b", conn=1)
    story.write("a-1", 1)


def heard_after_leaving(story: Story) -> None:
    story.add("server", "left", client="b", channel=None, conn=1)
    story.write("a-1", 1)


def done_after_leaving(story: Story) -> None:
    story.add("server", "left", client="a", channel=None, conn=1)
    story.invoke("a-1")
    story.add("server", "handled", token="a-1", conn=1)


def edit(story: Story, token: str) -> None:
    story.add("a", "edit", token=token, channel=None, id="1", name="own", value=token)
    story.invoke(token, "patch")
    story.view("x-0", "a", own=token)


def own_edit_overwritten_by_another(story: Story) -> None:
    edit(story, "a-1")
    story.view("x-1", "a", own="x-1")


def own_edit_overwritten_by_an_older_answer(story: Story) -> None:
    edit(story, "a-1")
    edit(story, "a-2")
    story.commit("a-1")
    story.ok("a-1", 1)
    story.view("a-1", "a", own="a-1")


def server_fails(story: Story) -> None:
    message, stack = "x failed", "Traceback ...\nKeyError: 1"
    log = {"logger": "backboneio.sync", "level": "ERROR", "message": message, "traceback": stack}
    story.add("server", "log", **log)


def client_fails(story: Story) -> None:
    story.add("b", "crash", message="TypeError")


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("once", acknowledged_and_not_committed),
        ("once", committed_twice),
        ("once", refused_and_committed),
        ("once", announced_twice),
        ("answer", told_something_else),
        ("answered", never_answered),
        ("answered", answered_twice),
        ("errors", unclear_error),
        ("errors", unavailable_after_a_kick),
        ("errors", leaking_error),
        ("order-in", handled_out_of_order),
        ("order-out", announced_out_of_order),
        ("one-meaning", told_differently),
        ("rev-order", event_twice),
        ("rev-order", events_out_of_order),
        ("rev-order", ack_after_newer_event),
        ("resume", replayed_what_was_known),
        ("delivery", gap_between_replay_and_live),
        ("delivery", told_to_nobody),
        ("delivery", told_to_nobody_who_fetched),
        ("delivery", told_to_nobody_before_a_later_one),
        ("delivery", told_to_nobody_since_one_fetched),
        ("delivery", not_replayed),
        ("isolation", heard_what_was_not_asked_for),
        ("isolation", heard_after_being_taken_out),
        ("stale-read", read_behind_its_rev),
        ("stale-read", read_without_a_model),
        ("old-over-new", older_version_shown),
        ("old-over-new", deleted_model_comes_back),
        ("converged", different_in_the_end),
        ("converged", left_over_in_the_end),
        ("whole", attribute_stays),
        ("whole", refused_and_shown_after_a_fetch),
        ("identity", two_models_become_one),
        ("identity", id_that_never_was),
        ("kicked", done_after_the_kick),
        ("kicked", done_after_a_kick_from_another_thread),
        ("kicked", heard_after_the_kick),
        ("isolation", heard_after_leaving),
        ("isolation", done_after_leaving),
        ("own-edit", own_edit_overwritten_by_another),
        ("own-edit", own_edit_overwritten_by_an_older_answer),
        ("server", server_fails),
        ("server", client_fails),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_fault(check: str, fault: Callable[[Story], None]) -> None:
    story = Story()
    fault(story)
    if story.lines[-1]["kind"] != "final":
        story.end()
    found = {violation.check for violation in Checker(story.lines).check()}
    assert check in found
    story.first()


def test_who_fetches_anew_need_not_be_told_however_late_he_heard_what_came_before() -> None:
    story = Story()
    story.invoke("a-1")
    story.commit("a-1")
    story.ok("a-1", 1)
    story.commit("emit-1", model_id="2")
    story.late = 60_000_000_000
    story.event(1, "a-1")
    for name in ("a", "b"):
        story.fetch(name, 1, 2)
    story.write("a-2", 3)
    story.end()
    assert Checker(story.lines).check() == []


def test_what_was_under_way_when_another_thread_threw_its_client_out_may_begin() -> None:
    story = Story()
    story.invoke("a-1")
    story.add("server", "kicked", client="a", conn=1, grace=1.0)
    story.add("server", "handled", token="a-1", conn=1)
    story.end()
    assert "kicked" not in {violation.check for violation in Checker(story.lines).check()}


@pytest.mark.parametrize("provoked", [True, False])
def test_what_failed_while_the_database_was_away_may_be_told_later(provoked: bool) -> None:
    story = Story()
    if provoked:
        story.invoke("a-1")
    story.add("database", "database", state="stopped")
    story.add("database", "database", state="there")
    story.late = 60_000_000_000
    if not provoked:
        story.invoke("a-1")
    story.add("a", "connect", conn=2)
    story.add("a", "sent", token="a-1", conn=2)
    error = {"name": "Unavailable", "message": "the database is not available"}
    story.add("a", "fail", token="a-1", conn=2, error=error)
    story.add("a", "done", token="a-1", error="Unavailable")
    story.end()
    found = {violation.check for violation in Checker(story.lines).check()}
    assert ("errors" not in found) is provoked


def test_unfinished() -> None:
    assert Story().first()[0] == "converged"
