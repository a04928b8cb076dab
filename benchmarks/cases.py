"""What is measured. Each case gives back the number of customers and of requests."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from typing import Any
from unittest import mock

import requests
from django.db import connection
from django.test import override_settings

from benchmarks.naive import mirror_naively
from polar_sync.client.responses import PolarRequest, PolarResponse
from polar_sync.client.transport import Transport
from polar_sync.management.commands.polar_sync import Command
from polar_sync.models import Customer

Work = Callable[[], tuple[int, int]]
CONCURRENCY = 4
UNLIMITED = 1_000_000


def make(case: str, *, url: str, token: str) -> Work:
    """The work of a case, with all that it needs at hand."""
    if case.startswith("naive"):
        return functools.partial(mirror_naively, url=url, token=token)
    if case.startswith(("per_customer", "batched")):
        source = "per_customer" if case.startswith("per_customer") else "batched"
        return functools.partial(_mirror, url=url, token=token, source=source)
    if case == "floor_inserts":
        return _prepare_inserts(url, token)
    return _prepare_requests(url, token, "batched" if case == "floor_batched_requests" else "per_customer")


def _mirror(*, url: str, token: str, source: str) -> tuple[int, int]:
    """What `manage.py polar_sync` does, as it does it."""
    organization = {"ACCESS_TOKEN": token, "SERVER": url, "REQUESTS_PER_MINUTE": UNLIMITED}
    configured = {"ORGANIZATIONS": {"default": organization}, "CONCURRENCY": CONCURRENCY, "STATE_SOURCE": source}
    with override_settings(POLAR_SYNC=configured), redirect_stdout(StringIO()) as output:
        Command().run_from_argv(["manage.py", "polar_sync", "--json"])
    run = json.loads(output.getvalue())
    return run["listed"], run["requests"]


def _prepare_requests(url: str, token: str, source: str) -> Work:
    """The floor of the requests: those that a run has just made, answered, decoded and thrown away."""
    asked: list[PolarRequest] = []
    send = Transport.send

    def watch(transport: Transport, call: PolarRequest) -> PolarResponse:
        asked.append(call)
        return send(transport, call)

    with mock.patch.object(Transport, "send", watch):
        number, _ = _mirror(url=url, token=token, source=source)
    return functools.partial(_ask_only, asked, number, url=url, token=token)


def _ask_only(calls: list[PolarRequest], number: int, *, url: str, token: str) -> tuple[int, int]:
    """With the concurrency that a run has."""
    sessions = [_open_session(token) for _ in range(CONCURRENCY)]

    def get(call: PolarRequest) -> None:
        session = sessions.pop()
        try:
            session.get(f"{url}{call.path}", params=list(call.query)).json()
        finally:
            sessions.append(session)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        list(pool.map(get, calls))
    return number, len(calls)


def _open_session(token: str) -> requests.Session:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    return session


def _prepare_inserts(url: str, token: str) -> Work:
    """The database's floor: the same rows in multi-row INSERTs of values that are ready before the clock runs."""
    number, _ = _mirror(url=url, token=token, source="batched")
    tables = []
    for model in _get_models():
        table = model._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in cursor.description]
            tables.append((table, columns, _adapt(cursor.fetchall())))
    for table, _, _ in reversed(tables):
        with connection.cursor() as cursor:
            cursor.execute(f'DELETE FROM "{table}"')
    return functools.partial(_insert, tables, number)


def _get_models() -> list[Any]:
    from polar_sync import models  # noqa: PLC0415

    return [
        Customer,
        models.CustomerObservation,
        models.Subscription,
        models.SubscriptionMeter,
        models.BenefitGrant,
        models.Meter,
    ]


def _adapt(rows: list[Any]) -> list[list[Any]]:
    if connection.vendor != "postgresql":
        return [list(row) for row in rows]
    from psycopg.types.json import Jsonb  # noqa: PLC0415

    return [[Jsonb(value) if isinstance(value, dict | list) else value for value in row] for row in rows]


def _insert(tables: list[tuple[str, list[str], list[list[Any]]]], number: int) -> tuple[int, int]:
    for table, columns, rows in tables:
        size = max(1, 900 // len(columns)) if connection.vendor == "sqlite" else 500
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            line = f"({', '.join(['%s'] * len(columns))})"
            names = ", ".join(f'"{column}"' for column in columns)
            statement = f'INSERT INTO "{table}" ({names}) VALUES {", ".join([line] * len(some))}'
            with connection.cursor() as cursor:
                cursor.execute(statement, [value for row in some for value in row])
    return number, 0
