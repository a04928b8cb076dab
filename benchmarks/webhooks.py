"""Webhook deliveries under load: 100 a second on PostgreSQL, two web workers, one Celery worker on Redis.

    DATABASE_URL=postgres://postgres@127.0.0.1:5432/postgres python -m benchmarks.webhooks [--rate 100] [--seconds 10]

Makes a database of its own beside the given one, mirrors 200 customers of a fake server into it, and sends what that
server's changes make, several about one customer right after each other; the same bodies go to a bare Django view
first. A delivery's time counts from when it was due, so that one that waits for others to be sent counts as slow. The
one who sends and the fake server share the machine with those who answer. Exits with 1 where a delivery was lost.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import django
import pytest

from benchmarks.__main__ import POSTGRESQL, SITE
from benchmarks.rest import serve
from polar_sync.testing import FakePolar, FakePolarServer
from polar_sync.tokens import Token
from polar_sync.webhooks.signatures import sign
from tests.services import borrow_redis

CUSTOMERS = 200
SENDERS = 16
PATIENCE = 120.0
SECRET = "whsec_of_a_benchmark_that_serves_nobody"
RECEIVER, BARE = "/polar/webhooks/default/", "/bare/"
WORKER = ("-m", "celery", "-A", "project", "worker", "--pool", "solo", "--without-gossip", "--loglevel", "ERROR")
STATE, SUPERSEDED = "customer.state_changed", "A later state was waiting."


class Answer(NamedTuple):
    status: int
    seconds: float


class Result(NamedTuple):
    """What became of the deliveries; `lag` is the seconds from the last answer until none was left to process."""

    bare: Sequence[Answer]
    answers: Sequence[Answer]
    kept: int
    processed: int
    lag: float
    applied: int
    superseded: int
    requests: int

    @property
    def is_complete(self) -> bool:
        accepted = sum(each.status == 202 for each in self.answers)
        return len(self.answers) == accepted == self.kept == self.processed


class Clock:
    """Polar's, which is set back to when the changes are to have happened."""

    def __init__(self) -> None:
        self.lead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.lead


def main() -> None:
    arguments = _read_arguments()
    try:
        with borrow_redis() as broker:
            result = measure(broker, rate=arguments.rate, seconds=arguments.seconds)
    except pytest.skip.Exception as missing:
        sys.exit(str(missing))
    sys.stdout.write(describe(result, rate=arguments.rate))
    if not result.is_complete:
        sys.exit("Deliveries were lost.")


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webhooks", description=__doc__)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=10)
    return parser.parse_args()


def measure(broker: str, *, rate: int, seconds: int) -> Result:
    clock = Clock()
    clock.lead = -timedelta(seconds=seconds + 5)
    with FakePolarServer(FakePolar(seed=1, clock=clock)) as server:
        polar = server.polar
        polar.generate_customers(CUSTOMERS)
        os.environ.update(_build_environment(polar, url=server.url, broker=broker))
        prepare()
        bodies = make_deliveries(polar, clock, number=rate * seconds, rate=rate)
        asked = len(polar.requests)
        with serve() as port, work():
            send(port, BARE, bodies[:rate], rate=rate)  # until everything is imported
            bare = send(port, BARE, bodies, rate=rate)
            answers = send(port, RECEIVER, bodies, rate=rate)
            lag = wait_for_worker()
        polar.webhooks.sender.drop(polar.webhooks.endpoints[0])
        return read_result(bare, answers, lag=lag, requests=len(polar.requests) - asked)


def _build_environment(polar: FakePolar, *, url: str, broker: str) -> Mapping[str, str]:
    return {
        **SITE,
        "DJANGO_SETTINGS_MODULE": "benchmarks.webhook_settings",
        "DATABASE_URL": os.environ.get("DATABASE_URL") or os.environ.get("POSTGRES_URL") or POSTGRESQL,
        "CELERY_BROKER_URL": broker,
        "POLAR_ACCESS_TOKEN": polar.access_token,
        "POLAR_SERVER": url,
        "POLAR_REQUESTS_PER_MINUTE": "1000000",
        "POLAR_WEBHOOK_SECRET": SECRET,
    }


def prepare() -> None:
    """Make the database anew and mirror the customers as they are before the changes."""
    django.setup()
    from benchmarks.rest_data import create_database  # noqa: PLC0415 - only after setup

    create_database()
    for command in ("migrate", "polar_sync"):
        arguments = [sys.executable, "manage.py", command, "--verbosity", "0"]
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


def make_deliveries(polar: FakePolar, clock: Clock, *, number: int, rate: int) -> list[tuple[str, str]]:
    """The `webhook-id` and the body of each event that changes make, two to five of a customer after each other."""
    webhooks, rng = polar.webhooks, random.Random(2)
    webhooks.sender.is_background = False
    webhooks.add_endpoint("http://127.0.0.1:9/", secret=SECRET)
    began, done = datetime.now(UTC), 0
    while done < number:
        key = rng.choice(polar.customers)
        for _ in range(rng.randint(2, 5)):
            _change(polar, key, rng)
            done = len(webhooks.events)
            # However long it takes to make them, their times are as far apart as they are sent.
            clock.lead = timedelta(seconds=done / rate - number / rate) - (datetime.now(UTC) - began)
    return [(event.id, str(event.payload)) for event in webhooks.events[:number]]


def _change(polar: FakePolar, key: str, rng: random.Random) -> None:
    state = polar.get_state(key)
    subscriptions, grants, dice = state["active_subscriptions"], state["granted_benefits"], rng.random()
    if dice < 0.3:
        polar.update_customer(key, name=f"Named {dice}")
    elif dice < 0.5 or not subscriptions:
        polar.subscribe(key, rng.choice(polar.products))
    elif dice < 0.8:
        rng.choice((polar.revoke, polar.cancel, polar.cycle))(rng.choice(subscriptions))
    elif dice < 0.9 or not grants:
        polar.grant(key, rng.choice(polar.benefits))
    else:
        polar.revoke_grant(rng.choice(grants))


@contextmanager
def work() -> Iterator[None]:
    """One Celery worker, which does one task at a time."""
    worker = subprocess.Popen([sys.executable, *WORKER], stdout=subprocess.DEVNULL)
    try:
        time.sleep(3)
        yield
    finally:
        worker.terminate()
        worker.wait()


def send(port: int, path: str, bodies: Sequence[tuple[str, str]], *, rate: int) -> list[Answer]:
    """Send them over connections of their own, so many a second however long the answers take."""
    answers: list[Answer] = []
    requests = [_build_request(port, path, message_id, body.encode()) for message_id, body in bodies]
    numbered, lock = enumerate(requests), threading.Lock()
    began = time.perf_counter() + 0.2

    def post_next() -> None:
        while True:
            with lock:
                number, request = next(numbered, (0, b""))
            if not request:
                return
            due = began + number / rate
            time.sleep(max(due - time.perf_counter(), 0.0))
            status = _post(port, request)
            answers.append(Answer(status, time.perf_counter() - due))

    threads = [threading.Thread(target=post_next) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _build_request(port: int, path: str, message_id: str, body: bytes) -> bytes:
    """What goes over the wire, signed before the clock runs: who sends takes as little of the machine as can be."""
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **sign(body, message_id=message_id, signed_at=datetime.now(UTC), secret=Token(SECRET)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _post(port: int, request: bytes) -> int:
    """The status of the answer, 0 where there was none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(request)
            response = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return 0
    return int(response[9:12] or 0)


def wait_for_worker() -> float:
    """Wait until nothing is left to process; returns the seconds that took."""
    from polar_sync.models import WebhookDelivery  # noqa: PLC0415

    began = time.perf_counter()
    while WebhookDelivery.objects.filter(status="received").exists() and time.perf_counter() - began < PATIENCE:
        time.sleep(0.02)
    return time.perf_counter() - began


def read_result(bare: Sequence[Answer], answers: Sequence[Answer], *, lag: float, requests: int) -> Result:
    from polar_sync.models import WebhookDelivery  # noqa: PLC0415

    rows = list(WebhookDelivery.objects.values_list("type", "status", "reason"))
    return Result(
        bare,
        answers,
        kept=len(rows),
        processed=sum(status in {"processed", "stale", "ignored"} for _, status, _ in rows),
        lag=lag,
        applied=sum(kind == STATE and status == "processed" for kind, status, _ in rows),
        superseded=sum(kind == STATE and reason == SUPERSEDED for kind, _, reason in rows),
        requests=requests,
    )


def describe(result: Result, *, rate: int) -> str:
    bare, answers = _get_milliseconds(result.bare), _get_milliseconds(result.answers)
    cells: dict[str, Any] = {
        "sent": len(result.answers),
        "kept": result.kept,
        "processed": result.processed,
        "median ms": f"{answers[0]:.1f}",
        "99th percentile ms": f"{answers[1]:.1f}",
        "bare view": f"{bare[0]:.1f}, {bare[1]:.1f}",
        "times bare": f"{answers[0] / bare[0]:.1f}, {answers[1] / bare[1]:.1f}",
        "all processed after s": f"{result.lag:.2f}",
        "states applied": result.applied,
        "superseded": result.superseded,
        "requests to Polar": result.requests,
    }
    head = f"\n## webhooks: {rate} deliveries a second, postgresql, {CUSTOMERS} customers\n\n"
    rows = (cells.keys(), itertools.repeat("---", len(cells)), cells.values())
    return head + "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


def _get_milliseconds(answers: Sequence[Answer]) -> tuple[float, float]:
    """Median and 99th percentile."""
    cuts = statistics.quantiles([each.seconds * 1000 for each in answers], n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    main()
