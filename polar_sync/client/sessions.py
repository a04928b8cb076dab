"""One connection pool a thread, made when the thread first asks, and never shared with a forked child."""

from __future__ import annotations

import os
import threading
import weakref
from importlib.metadata import PackageNotFoundError, version

import requests
from requests.adapters import HTTPAdapter

from polar_sync.exceptions import ClientClosedError


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
