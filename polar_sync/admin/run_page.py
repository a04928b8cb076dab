"""What a run's page shows of it, now; the same whether the page asks first or again."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from polar_sync.admin.change_lists import Count
from polar_sync.admin.display_names import get_display_name
from polar_sync.admin.formatting import (
    PAGE_LENGTH,
    clean,
    format_elapsed,
    format_number,
    format_seconds,
    format_share,
    show,
    show_code,
    show_time,
)
from polar_sync.models import Customer, CustomerObservation, SyncFailure, SyncRun
from polar_sync.models.run import OUTCOMES
from polar_sync.payloads.values import read_uuid
from polar_sync.sync.leases import filter_abandoned
from polar_sync.sync.runs import count_heard_since

SHOWN_FAILURES = 100
READ_FAILURES = 1000
MOST_FAILURES = 10_000
ALLOWANCE_REASONS = frozenset({"mass_deletion", "empty_listing"})
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


def build_parts(
    request: HttpRequest, run: SyncRun, *, site_name: str, may_sync: bool, may_begin: bool
) -> dict[str, str]:
    """The parts of the page that change while the run goes, as markup by name.

    With the buttons that steer it where one `may_sync`, and those that begin another where one `may_begin` one.
    """
    context = describe_run(run) | {"failures": describe_failures(run, site_name=site_name)}
    context["tools"] = get_tools(run, site_name=site_name, may_begin=may_begin) if may_sync else []
    return {
        name: render_to_string(f"polar_sync/admin/run_{name}.html", context, request=request)
        for name in ("status", "tools", "failures")
    }


def describe_run(run: SyncRun) -> dict[str, Any]:
    """Status, progress and counts."""
    names = {
        "created": pgettext("customers that a run", "created"),
        "updated": _("updated"),
        "unchanged": _("unchanged"),
        "stale": _("stale"),
        "deleted": _("deleted"),
        "failed": _("failed"),
    }
    share = get_share(run)
    return {
        "run": run,
        "organization": show(run.organization),
        "status": show_code(run.status),
        "reason": show_reason(run),
        "detail": show(run.detail, length=PAGE_LENGTH) if run.detail else "",
        "share": share,
        "share_text": format_share(share) if share is not None else "",
        "total": format_number(run.pass_total) if run.pass_total is not None else "",
        "listed": format_number(run.listed),
        "counts": [(names[name], name, format_number(getattr(run, name))) for name in OUTCOMES],
        "requests": format_number(run.requests),
        "throttled": format_seconds(run.throttled_seconds),
        "source": describe_source(run),
        "source_note": show(run.source_note, length=PAGE_LENGTH) if run.source_note else "",
        "started": show_time(run.started_at),
        "finished": show_time(run.finished_at),
        "duration": format_duration(run),
        "waiting": show_time(run.waiting_until) if _is_ahead(run) else "",
        "is_abandoned": is_abandoned(run),
    }


def get_share(run: SyncRun) -> float | None:
    """How much of the run is done, from 0 to 1; None while nobody knows how many customers there are."""
    if run.status == SyncRun.Status.SUCCEEDED:
        return 1.0
    if run.pass_total is None:
        return None
    done = min(run.listed / run.pass_total, 1.0) if run.pass_total else 1.0
    return min(done, 0.999) if run.is_running else done


def describe_source(run: SyncRun) -> str:
    """Where the states came from, as far as the run has chosen yet."""
    return clean(run.get_source_display()) if run.source else "–"


def show_reason(run: SyncRun) -> SafeString:
    """Why it ended as it did, in words; the code, by which the README tells what to do, is in the tooltip."""
    if not run.reason:
        return mark_safe("")
    return format_html('<span title="{}">{}</span>', clean(run.reason), show(get_display_name(run.reason)))


def format_duration(run: SyncRun) -> str:
    """From its start to its end, or until now."""
    end = run.finished_at or timezone.now()
    return format_elapsed(max(end - run.started_at, timedelta()))


def is_abandoned(run: SyncRun) -> bool:
    """Whether nobody works on a run that has not ended."""
    return run.is_running and filter_abandoned(SyncRun.objects.filter(pk=run.pk)).exists()


def _is_ahead(run: SyncRun) -> bool:
    return run.is_running and run.waiting_until is not None and run.waiting_until > timezone.now()


def get_tools(run: SyncRun, *, site_name: str, may_begin: bool) -> list[dict[str, Any]]:
    """The buttons that make sense now. A run is begun at its organization, and only by who may view that."""

    def button(verb: str, label: str) -> dict[str, Any]:
        return {"label": label, "url": reverse(f"{site_name}:polar_sync_syncrun_{verb}", args=(run.pk,)), "verb": verb}

    tools = []
    if is_abandoned(run):
        tools.append(button("resume", _("Resume")))
    if run.is_running:
        tools.append(button("cancel", _("Cancel the run")))
    if run.failed and has_failures_left(run):
        tools.append(button("retry", _("Retry failed customers")))
    if may_begin and not run.is_running:
        url = reverse(f"{site_name}:polar_sync_organization_sync", args=(run.organization_id,))
        tools.append({"label": _("Sync now"), "url": url, "verb": "sync"})
    if may_begin and run.reason in ALLOWANCE_REASONS:
        url = reverse(f"{site_name}:polar_sync_organization_sync", args=(run.organization_id,))
        tools.append({"label": _("Sync and allow the deletions"), "url": url, "verb": "allow"})
    return tools


def has_failures_left(run: SyncRun) -> bool:
    """Whether a customer that failed and can be asked for again has not been mirrored since.

    Looks at `READ_FAILURES` at a time, and as a rule no further than the first; after many it is taken for granted.
    """
    failures = SyncFailure.objects.filter(run=run).order_by("pk")
    for start in range(0, MOST_FAILURES, READ_FAILURES):
        texts = list(failures.values_list("customer_id", flat=True)[start : start + READ_FAILURES])
        keys = {key for text in texts if (key := read_uuid(text)) is not None}
        if keys and count_heard_since(run, keys) < len(keys):
            return True
        if len(texts) < READ_FAILURES:
            return False
    return True


def describe_failures(run: SyncRun, *, site_name: str) -> dict[str, Any]:
    """The failures by reason, the customers of each with links; bounded, however many there are."""
    rows = list(SyncFailure.objects.filter(run=run).order_by("pk")[:READ_FAILURES]) if run.failed else []
    by_reason: defaultdict[str, list[SyncFailure]] = defaultdict(list)
    for row in rows:
        by_reason[_UUID.sub("…", row.reason)].append(row)
    shown = rows[:SHOWN_FAILURES]
    known = _read_customers(shown)
    return {
        "number": format_number(run.failed),
        "is_cut": run.failed > len(shown),
        "shown": format_number(len(shown)),
        "groups": sorted(
            ((show(reason, length=300), Count(len(of_reason))) for reason, of_reason in by_reason.items()),
            key=lambda group: -group[1],
        )[:20],
        "rows": [_describe_failure(row, known, run, site_name=site_name) for row in shown],
    }


def _read_customers(rows: list[SyncFailure]) -> dict[UUID, Customer]:
    ids = [key for row in rows if (key := read_uuid(row.customer_id)) is not None]
    if not ids:
        return {}
    found = Customer.all_objects.select_related("observation").only(
        "name", "email", "external_id", "observation__answered_at"
    )
    return {customer.pk: customer for customer in found.filter(pk__in=ids)}


def _describe_failure(row: SyncFailure, known: dict[UUID, Customer], run: SyncRun, *, site_name: str) -> dict[str, Any]:
    key = read_uuid(row.customer_id)
    customer = known.get(key) if key is not None else None
    return {
        "name": show(str(customer)) if customer is not None else show(row.customer_id),
        "id": clean(row.customer_id),
        "url": reverse(f"{site_name}:polar_sync_customer_change", args=(customer.pk,)) if customer else None,
        "reason": show(row.reason, length=300),
        "is_mirrored": customer is not None and _is_mirrored_since(getattr(customer, "observation", None), run),
    }


def _is_mirrored_since(row: CustomerObservation | None, run: SyncRun) -> bool:
    """Whether Polar was heard of the customer's state after the run had begun: then the failure is history."""
    return row is not None and row.answered_at is not None and row.answered_at > run.started_at
