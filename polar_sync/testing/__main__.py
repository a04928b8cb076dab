"""Serve a fake Polar organization: `python -m polar_sync.testing --customers 1000 --seed 1 --port 8765`.

The first line of the output is JSON: `url`, `access_token`, `organization_id`, `customers`, with `--webhook` its
`webhook_secret`. With `--changes 3` some customer changes every three seconds. Ctrl-C or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

from polar_sync.testing.app import FakePolar
from polar_sync.testing.faults import Fault
from polar_sync.testing.http import format_timestamp
from polar_sync.testing.random_changes import RandomChanges
from polar_sync.testing.server import FakePolarServer
from polar_sync.testing.webhooks import POLAR_RETRY_DELAYS

CONNECT_SECONDS = 1.0


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m polar_sync.testing", description="A fake Polar server with made-up customers."
    )
    parser.add_argument("--customers", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--seed", default="1", help="the same seed gives the same customers (default 1)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--rate-limit", type=int, help="requests a minute, 429 beyond them (default: no limit)")
    parser.add_argument("--prepare", action="store_true", help="write all answers before the first request")
    parser.add_argument("--webhook", metavar="URL", help="where events are sent; the output has its `webhook_secret`")
    parser.add_argument("--webhook-secret", metavar="TEXT", help="what they are signed with (default: a new secret)")
    parser.add_argument(
        "--changes",
        type=read_seconds,
        metavar="SECONDS",
        help="have some customer change about this often, once somebody listens at the URL of --webhook where there is "
        "one (default: nobody changes)",
    )
    parser.add_argument("--latency", type=float, help="seconds that every answer takes longer")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal says stop."""
    given = build_parser().parse_args(arguments)
    polar = FakePolar.generate(seed=given.seed, customers=given.customers, rate_limit=given.rate_limit)
    if given.prepare:
        polar.prepare()
    if given.latency:
        polar.faults.add(Fault(kind="latency", seconds=given.latency, times=None))
    if given.webhook:
        polar.webhooks.retry_delays = POLAR_RETRY_DELAYS
        # Older than whatever is mirrored now: no change was before it and untold.
        created_at = format_timestamp(polar.now() - timedelta(days=1))
        polar.webhooks.add_endpoint(given.webhook, secret=given.webhook_secret, created_at=created_at)
    # What was made stays until the end: looking through it again would only hold answers up.
    gc.freeze()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with FakePolarServer(polar, host=given.host, port=given.port) as server:
        sys.stdout.write(json.dumps(describe(server)) + "\n")
        sys.stdout.flush()
        if given.changes:
            change_customers(RandomChanges(polar), stopping, seconds=given.changes, webhook=given.webhook)
        stopping.wait()
    return 0


def read_seconds(text: str) -> float:
    """A number of seconds above zero."""
    seconds = float(text)
    if not 0 < seconds < threading.TIMEOUT_MAX / 2:
        raise ValueError
    return seconds


def change_customers(changes: RandomChanges, stopping: threading.Event, *, seconds: float, webhook: str | None) -> None:
    """Make a change about every so many seconds, the first once somebody listens at `webhook`, until told to stop."""
    has_listener = webhook is None
    # As people do: not to a beat.
    while not stopping.wait(seconds * random.uniform(0.5, 1.5)):  # noqa: S311  no secret
        has_listener = has_listener or is_listening(webhook or "")
        if has_listener:
            changes.make()


def is_listening(url: str) -> bool:
    """Whether a connection to this address can be made."""
    parts = urlsplit(url)
    address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    with suppress(OSError), socket.create_connection(address, timeout=CONNECT_SECONDS):
        return True
    return False


def describe(server: FakePolarServer) -> dict[str, str | int]:
    """What a client needs to know."""
    described: dict[str, str | int] = {
        "url": server.url,
        "access_token": server.polar.access_token,
        "organization_id": server.polar.organization_id,
        "customers": len(server.polar.customers),
    }
    for endpoint in server.polar.webhooks.endpoints:
        described["webhook_secret"] = endpoint.secret
    return described


if __name__ == "__main__":
    sys.exit(main())
