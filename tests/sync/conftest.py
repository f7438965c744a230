"""Everything here holds on any journal: it is tried on an awkward one, too."""

from __future__ import annotations

from typing import Any

import pytest

import backboneio

from ..journal.awkward import AwkwardJournal


@pytest.fixture(params=["memory", "awkward"])
def messages(request: Any) -> backboneio.Backend:
    """A backend without any layer."""
    if request.param == "memory":
        return backboneio.create_backend()
    return backboneio.create_backend(journal=AwkwardJournal(others=0))
