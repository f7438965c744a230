"""A request's way down the layers and up again, with errors."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

import backboneio


def test_the_bottom_of_the_stack_answers_with_the_model(messages: backboneio.Backend) -> None:
    messages.use(lambda req, res, next: next())
    assert messages.call("update", {"id": 1, "text": "hi"}) == {"id": 1, "text": "hi"}


def test_next_twice_is_a_clear_error(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        next()
        with pytest.raises(RuntimeError, match="twice"):
            next()

    assert messages.call("read", {"id": 1}) == {"id": 1}


def test_a_raised_error_goes_to_the_next_error_layer_below(messages: backboneio.Backend) -> None:
    above, between, below = Mock(), Mock(), []

    @messages.use
    def error_layer_above(err: Any, req: Any, res: Any, next: Any) -> None:
        above()

    @messages.use
    def fail(req: Any, res: Any, next: Any) -> None:
        raise KeyError("lost")

    messages.use(between)

    @messages.use
    def error_layer(err: Any, req: Any, res: Any, next: Any) -> None:
        below.append(err)
        res.end({"recovered": True})

    assert messages.call("read") == {"recovered": True}
    assert [type(err) for err in below] == [KeyError]
    above.assert_not_called()
    between.assert_not_called()


def test_error_layers_are_passed_over_without_an_error(messages: backboneio.Backend) -> None:
    @messages.use
    def error_layer(err: Any, req: Any, res: Any, next: Any) -> None:
        raise AssertionError("there was no error")

    assert messages.call("read", {"id": 1}) == {"id": 1}


def test_an_error_layer_for_methods_sees_only_those(messages: backboneio.Backend) -> None:
    messages.use(lambda req, res, next: next(ValueError("no")))
    messages.use("create", lambda err, req, res, next: res.end("recovered"))
    assert messages.call("create") == "recovered"
    with pytest.raises(ValueError, match="no"):
        messages.call("read")


def test_an_error_layer_passes_on_another_error_or_ends_the_error(
    messages: backboneio.Backend,
) -> None:
    messages.use(lambda req, res, next: next("first"))
    messages.use(lambda err, req, res, next: next(backboneio.Conflict(f"not {err}")))

    @messages.use
    def recover(err: Any, req: Any, res: Any, next: Any) -> None:
        req.model["err"] = str(err)
        next()

    messages.use(lambda req, res: res.end({**req.model, "normal": True}))
    assert messages.call("read") == {"err": "not first", "normal": True}


def test_an_error_layer_that_fails_passes_its_own_error_on(messages: backboneio.Backend) -> None:
    messages.use(lambda req, res, next: next("first"))

    @messages.use
    def fail(err: Any, req: Any, res: Any, next: Any) -> None:
        raise LookupError("second")

    messages.use(lambda err, req, res, next: res.end(repr(err)))
    assert messages.call("read") == "LookupError('second')"


def test_an_unhandled_error_is_raised_through_the_layers_above(
    messages: backboneio.Backend,
) -> None:
    rolled_back = []

    @messages.use
    def transaction(req: Any, res: Any, next: Any) -> None:
        try:
            next()
        except LookupError as err:
            rolled_back.append(err)
            raise

    @messages.use
    def fail(req: Any, res: Any, next: Any) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError) as caught:
        messages.call("read")
    assert rolled_back == [caught.value]


def test_a_layer_above_may_answer_instead_of_the_error(messages: backboneio.Backend) -> None:
    @messages.use
    def rescue(req: Any, res: Any, next: Any) -> None:
        try:
            next()
        except LookupError:
            res.end("rescued")

    @messages.use
    def fail(req: Any, res: Any, next: Any) -> None:
        raise LookupError("gone")

    assert messages.call("read") == "rescued"


def test_an_exception_after_the_answer_is_logged_and_changes_nothing(
    messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.use
    def layer(req: Any, res: Any) -> None:
        res.end("answered")
        raise LookupError("too late")

    assert messages.call("read") == "answered"
    assert "too late" in caplog.text
