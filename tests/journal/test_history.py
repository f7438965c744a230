"""History: what its bookkeeping costs, whatever the changes that it does not keep."""

from __future__ import annotations

import time

import pytest

from backboneio import Limits
from backboneio.journal.history import History
from backboneio.model import Channel, Draft


def append(history: History, rev: int, *channels: Channel) -> None:
    draft = Draft.of("update", rev)._replace(channels=channels)
    history.append(draft.at(rev), 0.0)


@pytest.mark.parametrize("between", [1, 10_000_000])
def test_the_oldest_is_found_at_once_however_many_revs_are_not_kept(between: int) -> None:
    """What was told to nobody leaves gaps, as changes that a reset stands for do."""
    history = History(Limits(max_changes=2))
    last = 3 + between
    for rev in (1, 2, last):  # nobody was told of those between
        append(history, rev, None)
    assert [change.rev for change in history.since(1, last)] == [2, last]
    begun = time.thread_time()
    append(history, last + 1, None)
    append(history, last + 2, None)
    took = time.thread_time() - begun
    assert history.forgotten == last
    assert [change.rev for change in history.since(last, last + 2)] == [last + 1, last + 2]
    assert took < 0.1
