"""Threads that ask, and that nobody waits for at the end."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import pytest

from polar_sync.sync.threads import FetchThreads


def test_work_is_done_on_so_many_threads_and_gives_its_result() -> None:
    threads = FetchThreads(3, name="test")
    barrier = threading.Barrier(3)
    futures = [threads.submit(barrier.wait, 5) for _ in range(3)]
    assert sorted(future.result(5) for future in futures) == [0, 1, 2]
    names = {threads.submit(lambda: threading.current_thread().name).result(5) for _ in range(20)}
    assert names <= {"test-0", "test-1", "test-2"}
    threads.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-")]


def test_error_goes_to_who_waits_for_it_and_the_thread_lives_on() -> None:
    threads = FetchThreads(1, name="test")
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 / 0).result(5)
    assert threads.submit(lambda: 7).result(5) == 7
    threads.shutdown()


def test_end_does_not_wait_for_a_thread_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polar_sync.sync.threads._FAREWELL_SECONDS", 0.05)
    threads, is_hanging, is_let_go = FetchThreads(1, name="test"), threading.Event(), threading.Event()

    def hang() -> None:
        is_hanging.set()
        is_let_go.wait(60)

    hanging, queued = threads.submit(hang), threads.submit(lambda: 1)
    assert is_hanging.wait(60)
    threads.shutdown(cancel_futures=True)
    assert not hanging.done()
    with pytest.raises(CancelledError):
        queued.result(0)
    with pytest.raises(RuntimeError):
        threads.submit(lambda: 1)
    is_let_go.set()
    assert wait([hanging], timeout=60).done
