"""Everything here holds on any journal: it is tried on an awkward one, too."""

from __future__ import annotations

import functools
from typing import Any

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient

from ..journal.awkward import AwkwardJournal


@pytest.fixture(params=["memory", "awkward"])
def messages(request: Any) -> backboneio.Backend:
    """A backend without any layer."""
    if request.param == "memory":
        return backboneio.create_backend()
    return backboneio.create_backend(journal=AwkwardJournal(others=0))


@pytest.fixture
def open_page(app: flask.Flask, messages: backboneio.Backend) -> Any:
    """Connect a SyncClient to ``messages``, which keeps its models in memory."""
    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    return functools.partial(SyncClient, app, "messages")
