"""`FakePolar` on a loopback port: HTTP/1.1 with keep-alive, one thread a connection.

The handler writes each answer itself, in one piece, so that it can be quick, cut or truncated.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from polar_sync.testing.app import FakePolar
from polar_sync.testing.http import ConnectionCutError, get_phrase

POLL_SECONDS = 0.02
STOP_SECONDS = 5.0
CHUNK = 16_384


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests until the other side closes it or a fault does."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def handle(self) -> None:
        """Serve the connection; a client that goes away in mid-request is no error."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        body = self.rfile.read(int(length))
        headers = dict(self.headers.items())
        try:
            status, answered, content = self.server.polar.handle(self.command, self.path, headers, body)
        except ConnectionCutError:
            self.close_connection = True
            return
        except Exception as error:  # noqa: BLE001  raised again where the server is stopped
            self.server.errors.append(error)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        declared = dict(answered).get("Content-Length")
        is_chunked = declared is None and status != HTTPStatus.NO_CONTENT
        if is_chunked:
            answered.append(("Transfer-Encoding", "chunked"))
        head = f"HTTP/1.1 {status} {get_phrase(status)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in answered)
        payload = b"" if self.command == "HEAD" else content
        self.wfile.write(head.encode("latin-1") + b"\r\n" + (chunk(payload) if is_chunked else payload))
        if declared is not None and len(content) < int(declared):
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = do_OPTIONS = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Say nothing: `FakePolar.requests` knows what was asked."""


class _Listener(ThreadingHTTPServer):
    """Accepts connections and knows the open ones, so that stopping can end them."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], polar: FakePolar) -> None:
        self.polar = polar
        self.errors: list[Exception] = []
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without the base class's reverse look-up of the host name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection before its thread starts."""
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that is through."""
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def close_all(self) -> None:
        """End every open connection and wait until their threads are through."""
        with self._changed:
            for connection in self._open:
                # One that the other side has ended already is on its way out.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=STOP_SECONDS)


class FakePolarServer:
    """Serves a `FakePolar` from threads of this process while the `with` block runs.

    An error that a hook raises is answered with 500, and raised as the cause of a `RuntimeError` at the block's end.

    `port` 0 takes a free one; `url` is where it is, such as `http://127.0.0.1:40123`, without a slash at the end.
    """

    def __init__(self, polar: FakePolar | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.polar = polar if polar is not None else FakePolar()
        self._listener = _Listener((host, port), self.polar)
        self._host = host
        self._thread = threading.Thread(target=self._serve, name="fake-polar", daemon=True)

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://{self._host}:{self._listener.server_address[1]}"

    def start(self) -> Self:
        self._thread.start()
        self.polar.shared.sender.start()
        return self

    def stop(self) -> None:
        """Stop listening and sending webhooks, end the open connections and wait for the threads."""
        self.polar.shared.sender.stop()
        if self._thread.is_alive():
            self._listener.shutdown()
            self._thread.join()
        self._listener.server_close()
        self._listener.close_all()

    def raise_error(self) -> None:
        """Raise the first error that a hook, or the fake server itself, raised while it answered or sent."""
        for what, errors in (("answered", self._listener.errors), ("sent", self.polar.shared.sender.errors)):
            if errors:
                raise RuntimeError(f"the fake Polar server failed while it {what}: {errors[0]!r}") from errors[0]

    def _serve(self) -> None:
        self._listener.serve_forever(poll_interval=POLL_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if kind is None:
            self.raise_error()


def chunk(body: bytes) -> bytes:
    """A body in the chunked transfer coding."""
    pieces = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
