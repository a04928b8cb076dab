"""What the clients of all tokens have in common."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, Self, TypedDict

from polar_sync.client.credential import Credential
from polar_sync.client.throttle import RequestBudget
from polar_sync.client.transport import Transport, Usage
from polar_sync.client.versions import API_VERSION
from polar_sync.tokens import Token


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of every client; see `BaseClient`."""

    server: str
    budget: RequestBudget | None
    connect_timeout: float
    read_timeout: float
    max_attempts: int
    version: str


class BaseClient:
    """A token and a server, for any number of threads; `close()` it, or use it as a context manager.

    `server` is "production", "sandbox" or a base URL; timeouts are in seconds. `budget` is the request budget to
    share with others; without one it is this process's own for that server, 500 requests a minute, 100 on the
    sandbox. `max_attempts` bounds the attempts of a read that fails for a while (`polar_sync.client.retries`).
    ConfigurationError for arguments that cannot work.
    """

    kind: ClassVar[str] = "token"

    def __init__(
        self,
        token: Token,
        *,
        server: str = "production",
        budget: RequestBudget | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_attempts: int = 4,
        version: str = API_VERSION,
    ) -> None:
        self._transport = Transport(
            credential=Credential(token, kind=self.kind),
            server=server,
            budget=budget,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_attempts=max_attempts,
            version=version,
        )

    def __repr__(self) -> str:
        # Error reports show also a client whose arguments were refused.
        transport = vars(self).get("_transport")
        return f"<{type(self).__name__}: {transport.server if transport else 'not made'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def server(self) -> str:
        """The base URL of the server asked."""
        return self._transport.server

    @property
    def usage(self) -> Usage:
        """A snapshot of attempts sent and seconds spent waiting for the budget."""
        return self._transport.usage

    def close(self) -> None:
        """Close the connections of all threads; who waits for the budget or a retry gets ClientClosedError."""
        self._transport.close()
