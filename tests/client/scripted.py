"""A tiny HTTP server that answers what a test told it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, kw_only=True)
class Received:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: object

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """`body` is sent as JSON unless it is bytes; `pieces` are sent with `pause` seconds between them."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    date: str | None = ""
    version: str | None = "2026-04"
    delay: float = 0.0
    is_cut: bool = False
    length: int | None = None
    is_chunked: bool = False
    pieces: Sequence[bytes] = ()
    pause: float = 0.0


Script = Reply | Callable[[Received], Reply]


class ScriptedServer:
    """Answers with the scripted replies in turn, the last of them for ever."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._replies: list[Script] = [Reply(body={})]
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def targets(self) -> list[str]:
        return [each.target for each in self.received]

    def answer(self, *replies: Script) -> None:
        self._replies = list(replies)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take_reply(self, received: Received) -> Reply:
        with self._lock:
            self.received.append(received)
            script = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return script if isinstance(script, Reply) else script(received)

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *arguments: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                received = Received(
                    method=self.command,
                    target=self.path,
                    headers=dict(self.headers.items()),
                    body=self.rfile.read(length),
                    connection=self.connection,
                )
                reply = scripted.take_reply(received)
                time.sleep(reply.delay)
                if reply.is_cut:
                    self.close_connection = True
                    return
                send_reply(self, reply)

        for method in ("GET", "POST", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.answer)
        return Handler


def send_reply(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    headers = {"Content-Type": "application/json", **reply.headers}
    if reply.date is not None:
        headers["Date"] = reply.date or formatdate(usegmt=True)
    if reply.version is not None:
        headers["Polar-Version"] = reply.version
    if reply.is_chunked:
        headers["Transfer-Encoding"] = "chunked"
    elif reply.length != -1 and reply.status != 204:
        headers["Content-Length"] = str(
            sum(map(len, reply.pieces)) or len(body) if reply.length is None else reply.length
        )
    handler.send_response_only(reply.status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    for piece in reply.pieces or ([body] if body else []):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if reply.is_chunked else piece)
        time.sleep(reply.pause)
    if reply.length is not None:
        handler.close_connection = True
    elif reply.is_chunked:
        handler.wfile.write(b"0\r\n\r\n")
