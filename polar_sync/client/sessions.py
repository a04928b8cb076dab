"""Connections to Polar: one pool a thread, bodies bounded in time and size, and what urllib3 may log."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import DecodeError

from polar_sync.exceptions import ClientClosedError

LARGEST_BODY = 64 * 1024 * 1024
CHUNK = 64 * 1024
# Where urllib3 2 writes that warning.
_LOGGER = logging.getLogger("urllib3.connection")
_asked_server: ContextVar[str | None] = ContextVar("polar_sync_asked_server", default=None)


def build_user_agent() -> str:
    """Return `polar-sync/<version>`."""
    try:
        return f"polar-sync/{version('polar-sync')}"
    except PackageNotFoundError:
        return "polar-sync"


class _ProcessState:
    """What belongs to one process: a forked child inherits neither locks, which may be held, nor sockets."""

    def __init__(self, *, is_closed: bool) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.local = threading.local()
        self.sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self.closed = threading.Event()
        if is_closed:
            self.closed.set()


class ThreadSessions:
    """Hands every thread its own `requests.Session`; a thread's session ends with the thread or with `close()`."""

    def __init__(self, *, headers: dict[str, str]) -> None:
        self._headers = headers
        self._state = _ProcessState(is_closed=False)

    @property
    def closed(self) -> threading.Event:
        """Set once `close()` was called; whoever waits for something should wait on this."""
        return self._get_state().closed

    def get(self) -> requests.Session:
        """Return this thread's session; ClientClosedError after `close()`."""
        state = self._get_state()
        with state.lock:
            if state.closed.is_set():
                raise ClientClosedError("The client was closed; make a new one to ask Polar again.")
            session: requests.Session | None = getattr(state.local, "session", None)
            if session is None:
                session = state.local.session = self._open_session()
                state.sessions.add(session)
            return session

    def close(self) -> None:
        """Close the sessions of all threads and wake whoever waits on `closed`. May be called twice."""
        state = self._get_state()
        with state.lock:
            state.closed.set()
            sessions = list(state.sessions)
        for session in sessions:
            session.close()

    def _get_state(self) -> _ProcessState:
        if self._state.pid != os.getpid():
            self._state = _ProcessState(is_closed=self._state.closed.is_set())
        return self._state

    def _open_session(self) -> requests.Session:
        session = requests.Session()
        session.headers.update(self._headers)
        # urllib3's own retries would bypass the request budget and sleep where nobody can wake them.
        adapter = HTTPAdapter(max_retries=0)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


def read_body(response: requests.Response, *, deadline: float) -> bytes:
    """Read the whole body, decoded; `deadline` is a time of `time.monotonic()`.

    TimeoutError past the deadline: a read timeout alone never ends a body that trickles in. OverflowError beyond
    `LARGEST_BODY`, DecodeError for broken compression; other errors of urllib3 and the socket pass too.
    """
    pieces: list[bytes] = []
    size = 0
    # read1 returns what has arrived; read would wait until the whole chunk has.
    while piece := response.raw.read1(CHUNK, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_BODY:
            raise OverflowError(f"more than {LARGEST_BODY} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("the body came in too slowly")
    return b"".join(pieces)


def describe_defect(error: DecodeError | OverflowError) -> str:
    """Return what is wrong with a body that arrived and cannot be used."""
    return "its compression is broken" if isinstance(error, DecodeError) else f"it has {error}"


@contextmanager
def quieted(server: str) -> Iterator[None]:
    """Strip what urllib3 logs meanwhile in this thread of all that the server has said; others log as they did."""
    token = _asked_server.set(server)
    try:
        yield
    finally:
        _asked_server.reset(token)


def _strip(record: logging.LogRecord) -> bool:
    server = _asked_server.get()
    if server is not None and record.levelno >= logging.WARNING:
        record.msg = f"An answer of {server} has malformed headers; those that follow the first such are not read."
        record.args, record.exc_info, record.exc_text = (), None, None
    return True


_LOGGER.addFilter(_strip)
