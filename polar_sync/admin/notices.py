"""What is wrong with the mirror now, in words; nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Max, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from polar_sync.admin.base import MayView
from polar_sync.admin.change_lists import bound
from polar_sync.admin.delivery_figures import COUNT_LIMIT, DeliveryCounts
from polar_sync.admin.formatting import (
    NOTHING,
    PAGE_LENGTH,
    STALE_AFTER,
    clean,
    format_age,
    format_moment,
    format_number,
    show,
    show_label,
    show_time,
)
from polar_sync.exceptions import NetworkError, ServerError
from polar_sync.models import Organization, SyncRun, Verification, WebhookFeed
from polar_sync.sync.leases import filter_abandoned
from polar_sync.sync.runs import CANCELLED, count_heard_since, get_failed_ids

DETAIL_LENGTH = 300
MAX_FAILURES = 1000
# How the details of runs begin that got no answer, or none but that the server is in trouble.
_SILENT = tuple(f"{error.__name__}: " for error in (NetworkError, ServerError))
_Status = SyncRun.Status


def show_verification(organization: Organization) -> SafeString:
    """How many customers differed from Polar, and when that was seen."""
    verification = get_verification(organization)
    if verification is None:
        return NOTHING
    return format_html(
        '{} {} <span class="polar-quiet">· {}</span>',
        _show_result(verification),
        _describe(verification),
        show_time(verification.finished_at),
    )


def _show_result(verification: Verification) -> SafeString:
    if not verification.checked:
        return show_label(_("Nobody to compare"))
    if verification.differing > verification.repaired:
        return show_label(_("Differs"), tone="bad")
    if verification.failed:
        return show_label(pgettext("result of a verification", "Incomplete"), tone="warn")
    return show_label(_("Equal"), tone="good")


def _describe(verification: Verification) -> str:
    numbers = {
        "differing": format_number(verification.differing),
        "checked": format_number(verification.checked),
        "repaired": format_number(verification.repaired),
        "failed": format_number(verification.failed),
    }
    text = ngettext(
        "%(differing)s of %(checked)s customer differed",
        "%(differing)s of %(checked)s customers differed",
        verification.checked,
    )
    parts = [text % numbers]
    if verification.repaired:
        parts.append(ngettext("%(repaired)s repaired", "%(repaired)s repaired", verification.repaired) % numbers)
    if verification.failed:
        text = ngettext(
            "%(failed)s could not be asked about", "%(failed)s could not be asked about", verification.failed
        )
        parts.append(text % numbers)
    return ", ".join(parts)


def show_examples(organization: Organization) -> SafeString:
    """Some of what differed."""
    verification = get_verification(organization)
    if verification is None or not verification.examples:
        return NOTHING
    rows = ((show(text, length=PAGE_LENGTH),) for text in verification.examples)
    return format_html('<ul class="polar-plain-list">{}</ul>', format_html_join("", "<li>{}</li>", rows))


def get_verification(organization: Organization) -> Verification | None:
    """The last one, where there ever was any."""
    found: Verification | None = getattr(organization, "verification", None)
    return found


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence, as bad as its tone (info, warn, bad), with what was said of it, and where to see more.

    `organization` is empty where there is only one.
    """

    tone: str
    text: str
    detail: SafeString | str = ""
    link: str = ""
    url: str = ""
    organization: str = ""


@dataclass(frozen=True, slots=True)
class LastRuns:
    """By organization: the last run that has ended, and the one that has not."""

    ended: Mapping[int, SyncRun]
    running: Mapping[int, SyncRun]
    abandoned: frozenset[int]


def find_notices(
    organizations: Sequence[Organization],
    *,
    answered: Mapping[UUID, datetime],
    counts: Mapping[int, DeliveryCounts],
    site_name: str,
    may: MayView,
) -> list[Notice]:
    """What is wrong, as far as one may view it: at most two statements, and two more for a run with failed customers.

    `counts` are of deliveries, by organization, empty for who may not view them.
    `answered` is when Polar last answered about any customer's state, by the organization's Polar id.
    """
    if not organizations and may("syncrun"):
        text = _("Nothing is mirrored yet, as no run has begun: manage.py polar_sync starts one.")
        return [Notice("info", text)]
    runs = _read_last_runs() if may("syncrun") else None
    found: list[Notice] = []
    for organization in organizations:
        notices: list[Notice] = []
        if runs is not None:
            notices += _find_of_runs(organization, runs, answered=answered, site_name=site_name)
            notices += _find_of_verification(organization, site_name=site_name, may=may)
        if may("organization"):
            notices += _find_of_feed(organization, site_name=site_name)
        if organization.pk in counts:
            notices += _find_of_deliveries(organization, counts[organization.pk].failed, site_name=site_name)
        name = clean(organization) if len(organizations) > 1 else ""
        found += (replace(notice, organization=name) for notice in notices)
    return found


def describe_last_success(organizations: Sequence[Organization]) -> str:
    """When everything was last mirrored, of the organization for which that is longest ago."""
    if not organizations:
        return ""
    times = [organization.last_succeeded_at for organization in organizations]
    known = [time for time in times if time is not None]
    if not known or len(known) < len(times):
        return _("No run has succeeded yet.")
    return _("Everything was last mirrored %(when)s.") % {"when": format_age(min(known))}


def _read_last_runs() -> LastRuns:
    last = SyncRun.objects.exclude(status=_Status.RUNNING).order_by().values("organization").annotate(last=Max("pk"))
    runs = list(SyncRun.objects.filter(Q(status=_Status.RUNNING) | Q(pk__in=last.values("last"))))
    running = {run.organization_id: run for run in runs if run.is_running}
    mine = SyncRun.objects.filter(pk__in=[run.pk for run in running.values()])
    abandoned = filter_abandoned(mine).values_list("pk", flat=True) if running else ()
    ended = {run.organization_id: run for run in runs if not run.is_running}
    return LastRuns(ended, running, frozenset(abandoned))


def _find_of_runs(
    organization: Organization, runs: LastRuns, *, answered: Mapping[UUID, datetime], site_name: str
) -> Iterator[Notice]:
    running, ended = runs.running.get(organization.pk), runs.ended.get(organization.pk)
    if running is not None and running.pk in runs.abandoned:
        text = _("A run has not ended, and nobody works on it; it can be resumed.")
        yield _link(Notice("warn", text), running, site_name=site_name)
    if ended is None:
        if running is None or running.pk not in runs.abandoned:
            yield _describe_first(running, site_name=site_name)
        return
    notice = _describe_end(ended, is_running=running is not None, answered=_get_answered(organization, answered))
    if notice is not None:
        yield _link(notice, ended, site_name=site_name)


def _describe_first(running: SyncRun | None, *, site_name: str) -> Notice:
    if running is None:
        return Notice("warn", _("No run has finished yet, and none is under way."))
    return _link(
        Notice("info", _("No run has finished yet; the first one is under way.")), running, site_name=site_name
    )


def _get_answered(organization: Organization, answered: Mapping[UUID, datetime]) -> datetime | None:
    return answered.get(organization.polar_id) if organization.polar_id else None


def _link(notice: Notice, run: SyncRun, *, site_name: str) -> Notice:
    link = _("Run #%(number)s") % {"number": run.pk}
    return replace(notice, link=link, url=reverse(f"{site_name}:polar_sync_syncrun_change", args=(run.pk,)))


def _describe_end(run: SyncRun, *, is_running: bool, answered: datetime | None) -> Notice | None:
    if run.status == _Status.SUCCEEDED:
        return None if is_running else _describe_age(run)
    if run.status == _Status.FAILED:
        return _describe_failed(run, answered=answered)
    describe = _PARTIAL.get(run.reason)
    if describe is not None:
        return describe(run)
    text = _("The last run mirrored only a part, %(when)s.") % {"when": _format_end(run)}
    return Notice("warn", text, detail=show(run.detail, length=DETAIL_LENGTH) if run.detail else "")


def _describe_age(run: SyncRun) -> Notice | None:
    if run.finished_at is None or timezone.now() - run.finished_at <= STALE_AFTER:
        return None
    text = _("The last run ended %(when)s, and none has begun since. Is Celery beat running?")
    return Notice("warn", text % {"when": _format_end(run)})


def _describe_failed(run: SyncRun, *, answered: datetime | None) -> Notice:
    if run.reason == CANCELLED:
        text = _("The last run was cancelled %(when)s. What it had mirrored stays.")
        return Notice("warn", text % {"when": _format_end(run)})
    is_silent = run.reason == "polar_error" and run.detail.startswith(_SILENT)
    if is_silent and (answered is None or _is_before(answered, run.finished_at)):
        return Notice("bad", _describe_silence(run, answered=answered))
    text = _("The last run failed %(when)s:") % {"when": _format_end(run)}
    return Notice("bad", text, detail=show(run.detail or run.reason, length=DETAIL_LENGTH))


def _describe_silence(run: SyncRun, *, answered: datetime | None) -> str:
    if answered is None:
        return _("Polar has not answered yet.")
    time = {"time": _format_time(answered)}
    if not run.deleted:
        return _("Polar has not answered since %(time)s; nobody was marked deleted.") % time
    text = ngettext(
        "Polar has not answered since %(time)s; %(number)s customer was marked deleted before.",
        "Polar has not answered since %(time)s; %(number)s customers were marked deleted before.",
        run.deleted,
    )
    return text % {**time, "number": format_number(run.deleted)}


def _describe_failures(run: SyncRun) -> Notice | None:
    number = _count_unmirrored(run)
    if not number:
        return None
    text = ngettext(
        "%(number)s customer failed in the last run, %(when)s; all others are mirrored.",
        "%(number)s customers failed in the last run, %(when)s; all others are mirrored.",
        number,
    )
    return Notice("warn", text % {"number": format_number(number), "when": _format_end(run)})


def _count_unmirrored(run: SyncRun) -> int:
    """Failed customers of whom Polar has not been heard since; all, where they are very many."""
    if run.failed > MAX_FAILURES:
        return run.failed
    return max(run.failed - count_heard_since(run, get_failed_ids(run.pk)), 0)


def _describe_missing(run: SyncRun) -> Notice:
    text = _("Too many customers are missing on Polar: the last run ended %(when)s without marking anybody deleted.")
    return Notice("bad", text % {"when": _format_end(run)})


def _describe_moving(run: SyncRun) -> Notice:
    text = _(
        "Polar's list changed while the last run read it, %(when)s, so that somebody may have been skipped; "
        "nobody was marked deleted for that."
    )
    return Notice("warn", text % {"when": _format_end(run)})


_PARTIAL: Mapping[str, Callable[[SyncRun], Notice | None]] = {
    "customers_failed": _describe_failures,
    "mass_deletion": _describe_missing,
    "empty_listing": _describe_missing,
    "moving": _describe_moving,
}


def _find_of_verification(organization: Organization, *, site_name: str, may: MayView) -> Iterator[Notice]:
    verification = get_verification(organization)
    if verification is None or verification.differing <= verification.repaired or verification.finished_at is None:
        return
    number = verification.differing - verification.repaired
    text = ngettext(
        "%(number)s customer differed from Polar when the mirror was last verified, %(when)s.",
        "%(number)s customers differed from Polar when the mirror was last verified, %(when)s.",
        number,
    )
    numbers: dict[str, Any] = {"number": format_number(number), "when": format_age(verification.finished_at)}
    notice = Notice("warn", text % numbers)
    if may("organization"):
        url = reverse(f"{site_name}:polar_sync_organization_change", args=(organization.pk,))
        notice = replace(notice, link=_("What differed"), url=url)
    yield notice


def get_feed(organization: Organization) -> WebhookFeed | None:
    """How far Polar's list of deliveries was read, where it ever was."""
    found: WebhookFeed | None = getattr(organization, "webhook_feed", None)
    return found


def _find_of_feed(organization: Organization, *, site_name: str) -> Iterator[Notice]:
    feed = get_feed(organization)
    if feed is None:
        return
    link = _("The webhook endpoint")
    url = reverse(f"{site_name}:polar_sync_organization_change", args=(organization.pk,))
    if feed.is_enabled is False:
        text = _(
            "Polar has disabled the webhook endpoint and makes no events until it is enabled again: on Polar's "
            "dashboard, or by manage.py polar_sync_webhook. A run is needed after that."
        )
        yield Notice("bad", text, link=link, url=url)
    elif feed.problem:
        text = _("The webhook deliveries cannot be followed:")
        yield Notice("warn", text, detail=show(feed.problem, length=DETAIL_LENGTH), link=link, url=url)
    if feed.gap_since is not None and not feed.is_gap_closed(organization.complete_as_of):
        yield Notice("warn", _describe_gap(feed.gap_since, feed.gap_until), link=link, url=url)


def _describe_gap(since: datetime, until: datetime | None) -> str:
    if until is None:
        text = _(
            "Changes since %(since)s may have made no event; a run that begins once events are made again finds them."
        )
        return text % {"since": _format_time(since)}
    text = _("Changes from %(since)s to %(until)s may have made no event; a run that begins now finds them.")
    return text % {"since": _format_time(since), "until": _format_time(until)}


def _find_of_deliveries(organization: Organization, number: int, *, site_name: str) -> Iterator[Notice]:
    if not number:
        return
    text = ngettext(
        "%(number)s webhook delivery has failed and is not tried again by itself.",
        "%(number)s webhook deliveries have failed and are not tried again by themselves.",
        number,
    )
    parameters = {"status": "failed"}
    if organization.polar_id:
        parameters["organization"] = str(organization.polar_id)
    url = f"{reverse(f'{site_name}:polar_sync_webhookdelivery_changelist')}?{urlencode(parameters)}"
    yield Notice("warn", text % {"number": bound(number, COUNT_LIMIT)}, link=_("Failed deliveries"), url=url)


def _format_end(run: SyncRun) -> str:
    return format_age(run.finished_at) if run.finished_at is not None else ""


def _is_before(time: datetime, other: datetime | None) -> bool:
    return other is not None and time <= other


def _format_time(time: datetime) -> str:
    """The time of day of today, else with the day."""
    local = timezone.localtime(time)
    return date_format(local, "TIME_FORMAT") if local.date() == timezone.localdate() else format_moment(time)
