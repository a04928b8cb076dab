"""What sends in the background: one thread of a fake server that attempts what is due, in the order in which it is.

A thread lives as long as something is pending, so that a server that sends nothing has none.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import hmac
import itertools
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, NamedTuple

STOP_SECONDS = 5.0
# Polar keeps no more of what a receiver says.
MAX_RESPONSE = 2048


class Response(NamedTuple):
    """What a receiver answered; `status` is None where it could not be reached, `text` then says why."""

    status: int | None
    text: str | None

    @property
    def is_success(self) -> bool:
        """Nothing but 2xx is; a redirect is none."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004  2xx


Post = Callable[[str, dict[str, str], bytes, float], Response]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Leave a redirect as the answer that it is."""


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


def post(url: str, headers: dict[str, str], body: bytes, timeout: float) -> Response:
    """Send over HTTP, following nothing and using no proxy; `timeout` in seconds."""
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310  the endpoint's own
    try:
        with _OPENER.open(request, timeout=timeout) as answer:
            return Response(answer.status, _decode(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, _decode(error.read()))
    except (OSError, HTTPException, ValueError) as error:
        return Response(None, str(getattr(error, "reason", error)) or type(error).__name__)


def _decode(body: bytes) -> str | None:
    return body.decode("utf-8", "replace").replace("\x00", "")[:MAX_RESPONSE] or None


def sign(secret: str, *, event_id: str, timestamp: int, body: str) -> str:
    """The value of `webhook-signature`, keyed with the bytes of the whole secret text, its prefix included."""
    content = f"{event_id}.{timestamp}.{body}".encode()
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode('ascii')}"


@dataclass(order=True, slots=True)
class Task:
    """Something to run once `due` (monotonic seconds) has come; `owner` is whom it is dropped with."""

    due: float
    number: int
    run: Callable[[], object] = field(compare=False)
    owner: object = field(compare=False)


class Sender:
    """Runs tasks when they are due, in the background or in the thread that asks for it; safe from any thread.

    `changed` guards what the tasks work on too, and is notified whenever a task has run. With `is_background` off,
    nothing is run before `drain`. `workers` is how many threads run tasks at once; with one, they begin in order.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.is_background = True
        self.workers = 1
        self.errors: list[Exception] = []
        self._is_stopped = False
        self._queue: list[Task] = []
        self._numbers = itertools.count()
        self._threads: set[threading.Thread] = set()
        self._running = 0

    def put(self, run: Callable[[], object], *, owner: object, delay: float = 0.0) -> None:
        """Have `run` called in `delay` seconds."""
        with self.changed:
            heapq.heappush(self._queue, Task(time.monotonic() + delay, next(self._numbers), run, owner))
            self._start_threads()
            self.changed.notify_all()

    def drop(self, owner: object) -> None:
        """Forget what waits for `owner`."""
        with self.changed:
            self._queue = [one for one in self._queue if one.owner is not owner]
            heapq.heapify(self._queue)
            self.changed.notify_all()

    def start(self) -> None:
        """Go on after `stop`."""
        with self.changed:
            self._is_stopped = False
            self._start_threads()

    def stop(self) -> None:
        """Run nothing more; what is being run comes to its end, what is pending stays so."""
        with self.changed:
            self._is_stopped = True
            self.changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(STOP_SECONDS)

    def wait(self, timeout: float) -> None:
        """Wait until nothing is pending, retries included; `TimeoutError` after `timeout` seconds."""
        if not self.is_background or self._is_stopped:
            self.drain()
            return
        with self.changed:
            if not self.changed.wait_for(lambda: not (self._queue or self._running), timeout):
                left = len(self._queue) + self._running
                raise TimeoutError(f"{left} deliveries are still pending after {timeout:g} seconds")

    def drain(self) -> None:
        """Run all that is pending in this thread, without waiting for what is due later."""
        while True:
            with self.changed:
                if not self._queue:
                    if not self._running:
                        return
                    self.changed.wait()
                    continue
                task = self._take()
            self._run(task)

    def _start_threads(self) -> None:
        if self._is_stopped or not self.is_background:
            return
        while len(self._threads) < min(self.workers, len(self._queue) + self._running):
            thread = threading.Thread(target=self._work, name="fake-polar-sender", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _work(self) -> None:
        while (task := self._wait_for_task()) is not None:
            self._run(task)

    def _wait_for_task(self) -> Task | None:
        """The next task once it is due; None ends the thread."""
        with self.changed:
            while self._queue and not self._is_stopped and self.is_background:
                remaining = self._queue[0].due - time.monotonic()
                if remaining <= 0:
                    return self._take()
                self.changed.wait(remaining)
            self._threads.discard(threading.current_thread())
            return None

    def _take(self) -> Task:
        self._running += 1
        return heapq.heappop(self._queue)

    def _run(self, task: Task) -> None:
        try:
            task.run()
        except Exception as error:  # noqa: BLE001  raised again where the server is stopped
            self.errors.append(error)
        finally:
            with self.changed:
                self._running -= 1
                self.changed.notify_all()
