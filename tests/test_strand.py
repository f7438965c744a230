"""Strand: jobs one at a time and in order, by whichever thread."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Any

import pytest

from backboneio.strand import HIGH_WATER, Strand

from .support import together


def test_posting_runs_nothing() -> None:
    strand, ran = Strand(), []
    strand.post(lambda: ran.append(1))
    assert ran == []
    strand.run()
    assert ran == [1]


@pytest.mark.usefixtures("restless")
def test_jobs_never_overlap_and_none_is_forgotten() -> None:
    strand = Strand()
    inside: list[int] = []
    overlaps, ran = [], []

    def job(name: tuple[int, int]) -> None:
        inside.append(1)
        if len(inside) > 1:
            overlaps.append(name)
        ran.append(name)
        inside.pop()

    def work(thread: int) -> None:
        for number in range(500):
            strand.post(lambda number=number: job((thread, number)))  # type: ignore[misc]
            strand.run()

    together(*[lambda thread=thread: work(thread) for thread in range(6)])
    assert overlaps == []
    # All have run when the last call to run() is back: nobody has to come by once more.
    assert len(ran) == 3000
    for thread in range(6):
        assert [number for who, number in ran if who == thread] == list(range(500))


def test_a_job_may_post_and_run() -> None:
    strand, ran = Strand(), []

    def job() -> None:
        strand.post(lambda: ran.append("inner"))
        strand.run()
        ran.append("outer")

    strand.post(job)
    strand.run()
    assert ran == ["outer", "inner"]


def test_a_job_that_fails_is_logged_and_disturbs_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strand, ran = Strand(), []

    def fail() -> None:
        raise LookupError("broken job")

    strand.post(fail)
    strand.post(lambda: ran.append(1))
    strand.run()
    assert ran == [1]
    assert "broken job" in caplog.text


def test_nobody_waits_for_a_slow_job() -> None:
    strand, ran = Strand(), []
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(10)

    strand.post(slow)
    runner = threading.Thread(target=strand.run)
    runner.start()
    begun.wait(10)
    strand.post(lambda: ran.append(1))
    strand.run()  # returns at once, and leaves the job to the other thread
    assert ran == []
    go_on.set()
    runner.join(10)
    assert ran == [1]


@pytest.mark.usefixtures("restless")
def test_nobody_is_kept_with_the_jobs_of_others_and_the_queue_stays_short() -> None:
    strand, done = Strand(), threading.Event()
    posted: list[None] = []
    ran: list[None] = []
    queued: list[int] = []

    def post() -> None:
        posted.append(None)
        strand.post(lambda: ran.append(None))
        strand.run()

    def busy() -> None:
        while not done.is_set():
            post()
            queued.append(len(posted) - len(ran))

    def visitor() -> None:
        try:
            for _ in range(300):
                post()
        finally:
            done.set()

    together(visitor, busy, busy, busy)
    assert len(ran) == len(posted)
    assert max(queued) < 10 * HIGH_WATER


def test_who_is_interrupted_while_waiting_leaves_nothing_behind() -> None:
    strand, ran = Strand(), []
    begun, ready, interrupted = threading.Event(), threading.Event(), threading.Event()
    main = threading.main_thread().ident or 0

    def interrupt(number: int, frame: Any) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise InterruptedError

    def slow() -> None:
        begun.set()
        ready.wait(10)
        while sys._current_frames()[main].f_globals["__name__"] != Strand.__module__:
            time.sleep(0.01)
        while not interrupted.wait(0.05):  # the first signal may come just before it waits
            signal.pthread_kill(main, signal.SIGUSR1)

    def post(jobs: int) -> None:
        for _ in range(jobs):
            strand.post(lambda: ran.append(None))

    strand.post(slow)
    runner = threading.Thread(target=strand.run)
    runner.start()
    begun.wait(10)
    post(HIGH_WATER)
    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(InterruptedError):
            ready.set()
            strand.run()
        runner.join(10)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(ran) == HIGH_WATER
    post(3 * HIGH_WATER)
    strand.run()  # does all, for nobody waits to take over
    assert len(ran) == 4 * HIGH_WATER
