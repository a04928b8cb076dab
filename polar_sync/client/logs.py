"""What urllib3 logs about our requests: its warning about malformed headers quotes them, and so what they echo."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Where urllib3 2 writes that warning.
_LOGGER = logging.getLogger("urllib3.connection")
_asked_server: ContextVar[str | None] = ContextVar("polar_sync_asked_server", default=None)


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
