"""Threads that ask Polar, and that nobody has to wait for at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_FAREWELL_SECONDS = 1.0


class FetchThreads(Executor):
    """As `ThreadPoolExecutor`, but a thread that hangs in an answer keeps neither Ctrl-C nor the process waiting."""

    def __init__(self, number: int, *, name: str) -> None:
        self._number, self._name = number, name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._waiting: set[Future[Any]] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn` called on one of the threads."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - the thread that waits for the future gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot ask for more after the connection was closed")
            self._waiting.add(future)
            if len(self._threads) < self._number:
                self._start_thread()
        future.add_done_callback(self._waiting.discard)
        self._work.put(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; waits for them for a moment at most."""
        with self._lock:
            self._is_shut_down = True
        for future in list(self._waiting) if cancel_futures else []:
            future.cancel()
        for _ in self._threads:
            self._work.put(None)
        deadline = time.monotonic() + (_FAREWELL_SECONDS if wait else 0.0)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # an idle thread should not keep the last answer alive
