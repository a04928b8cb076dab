"""How a run is shown while it goes and once it has ended: a bar on a terminal, quiet lines elsewhere, or JSON."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, Protocol, TextIO

from django.db.models import Max
from tqdm import tqdm

from polar_sync.client import Usage
from polar_sync.models import SyncRun
from polar_sync.models.run import OUTCOMES
from polar_sync.payloads.values import clean_text
from polar_sync.sync import DryRun

_MAX_FAILURES = 1_000
"""Failures listed in one JSON line; the run's own record holds all."""
_QUIET_SECONDS = 30.0


class Report(Protocol):
    """Hears of a run after each page."""

    def update(self, run: SyncRun) -> None:
        """Show how far it is."""

    def close(self) -> None:
        """Leave the terminal tidy."""


class BarReport:
    """A progress bar: customers, rate, time left, throttled time."""

    def __init__(self, stream: TextIO, *, name: str) -> None:
        self._bar: tqdm[Any] = tqdm(desc=name, unit=" customers", file=stream, dynamic_ncols=True)

    def update(self, run: SyncRun) -> None:
        self._bar.total = _get_total(run)
        if run.throttled_seconds >= 1:
            self._bar.set_postfix_str(f"throttled {run.throttled_seconds:.0f} s", refresh=False)
        self._bar.update(run.listed - self._bar.n)

    def close(self) -> None:
        """Keep the bar's last state on the screen."""
        self._bar.close()


class LineReport:
    """A line now and then, for logs."""

    def __init__(self, stream: TextIO, *, name: str) -> None:
        self._stream, self._name = stream, name
        self._shown_at = time.monotonic()

    def update(self, run: SyncRun) -> None:
        """Write a line if the last one is a while ago."""
        if time.monotonic() - self._shown_at >= _QUIET_SECONDS:
            self._shown_at = time.monotonic()
            total = _get_total(run)
            self._stream.write(f"{self._name}: {run.listed} of {total if total is not None else '?'} customers\n")

    def close(self) -> None:
        """Nothing is left open."""


class SilentReport:
    """Says nothing: the JSON line at the end says all."""

    def update(self, run: SyncRun) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Nothing is left open."""


def _get_total(run: SyncRun) -> int | None:
    total: int | None = run.pages.aggregate(total=Max("total_count"))["total"]
    return None if total is None else max(total, run.listed)


def describe_run(run: SyncRun, *, seconds: float) -> dict[str, Any]:
    """The JSON line of one organization. `seconds` and `throttled_seconds` are what they say."""
    return {
        "organization": run.organization.name,
        "run": run.pk,
        "status": run.status,
        "reason": run.reason,
        "detail": run.detail,
        "listed": run.listed,
        **run.outcomes,
        "requests": run.requests,
        "throttled_seconds": round(run.throttled_seconds, 3),
        "seconds": round(seconds, 3),
        "failures": [
            {"id": customer_id, "reason": reason}
            for customer_id, reason in run.failures.order_by("pk").values_list("customer_id", "reason")[:_MAX_FAILURES]
        ],
    }


def describe_no_run(organization: str, *, status: str, run: int | None = None, **why: str) -> dict[str, Any]:
    """The same keys where no run was made; `run` is the one that stood in the way, `why` its `reason` and `detail`."""
    return {
        "organization": organization,
        "run": run,
        "status": status,
        "reason": "",
        "detail": "",
        **why,
        "listed": 0,
        **dict.fromkeys(OUTCOMES, 0),
        "requests": 0,
        "throttled_seconds": 0.0,
        "seconds": 0.0,
        "failures": [],
    }


def describe_interruption(organization: str, *, run: SyncRun | None = None, reason: str, detail: str) -> dict[str, Any]:
    """The same keys where no run ended: `run` is kept, as far as it was last known. Asks the database nothing."""
    line = describe_no_run(organization, status="failed", reason=reason, detail=detail)
    if run is None:
        return line
    counts = {"listed": run.listed, **run.outcomes}
    return {**line, "run": run.pk, **counts, "requests": run.requests, "throttled_seconds": run.throttled_seconds}


def describe_dry_run(organization: str, run: DryRun, *, usage: Usage, seconds: float) -> dict[str, Any]:
    """The same keys for a run that was not made: `status` and `reason` are those that it would have ended with."""
    counts = run.ledger.count()
    outcomes = {outcome: counts[outcome] for outcome in OUTCOMES}
    return {
        **describe_no_run(organization, status=run.status, reason=run.reason, detail=clean_text(run.detail)),
        "listed": sum(outcomes.values()),
        **outcomes,
        "requests": usage.requests,
        "throttled_seconds": round(usage.throttled_seconds, 3),
        "seconds": round(seconds, 3),
        "failures": [
            {"id": customer_id, "reason": reason}
            for customer_id, reason in islice(run.ledger.iterate_reasons("failed"), _MAX_FAILURES)
        ],
        "dry_run": True,
    }


def list_changed(run: DryRun) -> dict[str, list[str]]:
    """The ids of those whom the run would have changed, by what would have become of them."""
    return {
        outcome: [key for key, _ in run.ledger.iterate_reasons(outcome)]
        for outcome in ("created", "updated", "deleted")
    }


def summarize_dry_run(line: dict[str, Any]) -> str:
    """The same for a person."""
    counts = _list_counts({outcome: line[outcome] for outcome in OUTCOMES})
    text = f"{line['organization']}: a run would have {line['status']}"
    if line["status"] == SyncRun.Status.PARTIAL:
        text = f"{line['organization']}: a run would have been partial"
    if line["reason"]:
        text += f" ({line['reason']}: {line['detail']})"
    text += f"; {line['listed']} customers" + (f": {counts}" if counts else "")
    return f"{text}; nothing was written; {line['requests']} requests, {line['seconds']:.1f} s."


def summarize_run(run: SyncRun, *, seconds: float) -> str:
    """The same for a person."""
    counts = _list_counts(run.outcomes)
    text = f"{run.organization.name}: run {run.pk} {run.status}"
    if run.reason:
        text += f" ({run.reason}: {run.detail})"
    text += f"; {run.listed} customers" + (f": {counts}" if counts else "")
    return f"{text}; {run.requests} requests, {seconds:.1f} s, {run.throttled_seconds:.1f} s of them throttled."


def _list_counts(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items() if number)
