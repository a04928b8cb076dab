"""What stands on top of the overview where something is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.formats import date_format

from polar_sync.admin.notices import find_notices
from polar_sync.models import CustomerObservation, Organization, SyncFailure, SyncRun, Verification, WebhookFeed
from tests.factories import apply_states, build_state, create_delivery, create_organization, make_id, read_at

pytestmark = pytest.mark.django_db
OVERVIEW = "/admin/polar_sync/"


def hours_ago(hours: float) -> datetime:
    return timezone.now() - timedelta(hours=hours)


def end_run(organization: Organization, status: str, reason: str = "", *, hours: float = 1, **fields: Any) -> SyncRun:
    times = {"started_at": hours_ago(hours + 0.1), "finished_at": hours_ago(hours)}
    return SyncRun.objects.create(organization=organization, status=status, reason=reason, **times, **fields)


def read_notices(client: Client) -> list[tuple[str, str]]:
    """Tone and text of each."""
    page = client.get(OVERVIEW).content.decode()
    items = re.findall(r'<li class="polar-notice polar-(\w+)">(.*?)</li>', page, re.DOTALL)
    return [(tone, " ".join(unescape(re.sub("<[^>]+>", "", text)).split())) for tone, text in items]


def answer(organization: Organization, *, hours: float) -> None:
    """Polar tells of a customer, so long ago on our clock."""
    apply_states(organization, build_state("one"), interval=read_at(0))
    CustomerObservation.objects.update(answered_at=hours_ago(hours))


def test_nothing_is_said_where_all_is_well(viewer: Client, organization: Organization) -> None:
    end_run(organization, "failed", "polar_error", hours=3)
    end_run(organization, "succeeded")
    Organization.objects.update(last_succeeded_at=hours_ago(1))
    now = timezone.now()
    Verification.objects.create(
        organization=organization, started_at=now, finished_at=now, checked=9, differing=1, repaired=1
    )
    assert read_notices(viewer) == []
    page = " ".join(viewer.get(OVERVIEW).content.decode().split())
    assert "Everything was last mirrored 1 hour ago." in page


def test_empty_mirror_says_how_to_begin(viewer: Client) -> None:
    text = "Nothing is mirrored yet, as no run has begun: manage.py polar_sync starts one."
    assert read_notices(viewer) == [("info", text)]


def test_first_run_is_awaited(viewer: Client, organization: Organization) -> None:
    assert read_notices(viewer) == [("warn", "No run has finished yet, and none is under way.")]
    run = SyncRun.objects.create(organization=organization)
    text = f"No run has finished yet; the first one is under way. Run #{run.pk}"
    assert read_notices(viewer) == [("info", text)]


def test_silence_of_polar_is_dated(viewer: Client, organization: Organization) -> None:
    answer(organization, hours=1.5)
    run = end_run(organization, "failed", "polar_error", detail="NetworkError: no answer")
    ((tone, text),) = read_notices(viewer)
    assert tone == "bad"
    asked = timezone.localtime(CustomerObservation.objects.get().answered_at)
    is_today = asked.date() == timezone.localdate()  # after midnight the day stands before the time
    assert text.startswith("Polar has not answered since ")
    assert text.endswith(f"; nobody was marked deleted. Run #{run.pk}")
    assert date_format(asked, "TIME_FORMAT" if is_today else "DATETIME_FORMAT") in text


def test_those_marked_deleted_before_the_silence_are_counted(viewer: Client, organization: Organization) -> None:
    answer(organization, hours=1.5)
    end_run(organization, "failed", "polar_error", detail="ServerError: 503", deleted=1)
    assert "; 1 customer was marked deleted before." in read_notices(viewer)[0][1]
    end_run(organization, "failed", "polar_error", detail="ServerError: 503", deleted=1200)
    assert "; 1,200 customers were marked deleted before." in read_notices(viewer)[0][1]


def test_polar_that_never_answered_has_no_date(viewer: Client, organization: Organization) -> None:
    end_run(organization, "failed", "polar_error", detail="NetworkError: refused")
    assert read_notices(viewer)[0][1].startswith("Polar has not answered yet.")


def test_polar_that_answered_since_is_not_called_silent(viewer: Client, organization: Organization) -> None:
    answer(organization, hours=0.5)
    run = end_run(organization, "failed", "polar_error", detail="NetworkError: no answer")
    text = f"The last run failed 1 hour ago: NetworkError: no answer Run #{run.pk}"
    assert read_notices(viewer) == [("bad", text)]


@pytest.mark.parametrize(
    ("status", "reason", "detail", "tone", "text"),
    [
        ("failed", "authentication", "AuthenticationError: 401", "bad", "failed 1 hour ago: AuthenticationError: 401"),
        (
            "failed",
            "polar_error",
            "UnreadableAnswerError: HTML",
            "bad",
            "failed 1 hour ago: UnreadableAnswerError: HTML",
        ),
        ("failed", "cancelled", "by boss", "warn", "The last run was cancelled 1 hour ago."),
        ("partial", "mass_deletion", "", "bad", "the last run ended 1 hour ago without marking anybody deleted."),
        ("partial", "empty_listing", "", "bad", "Too many customers are missing on Polar"),
        ("partial", "moving", "", "warn", "somebody may have been skipped; nobody was marked deleted for that."),
        ("partial", "stale", "Of 20 …", "warn", "The last run mirrored only a part, 1 hour ago. Of 20 …"),
    ],
)
def test_end_of_the_last_run_is_told_in_words(
    viewer: Client, organization: Organization, status: str, reason: str, detail: str, tone: str, text: str
) -> None:
    run = end_run(organization, status, reason, detail=detail)
    ((found, sentence),) = read_notices(viewer)
    assert (found, text in sentence) == (tone, True), sentence
    assert (
        f'<a href="/admin/polar_sync/syncrun/{run.pk}/change/">Run #{run.pk}</a>'
        in viewer.get(OVERVIEW).content.decode()
    )


def test_details_do_no_harm(viewer: Client, organization: Organization) -> None:
    end_run(organization, "failed", "error", detail="<script>harm</script>\u202e")
    page = viewer.get(OVERVIEW).content.decode()
    assert "&lt;script&gt;harm&lt;/script&gt;⟨202E⟩" in page
    assert "<script>harm" not in page


def test_failed_customers_are_counted_until_they_are_mirrored(viewer: Client, organization: Organization) -> None:
    apply_states(organization, build_state("one"), build_state("two"), interval=read_at(0))
    CustomerObservation.objects.update(answered_at=hours_ago(5))
    run = end_run(organization, "partial", "customers_failed", failed=3)
    for key in (make_id("one"), make_id("two"), "?"):
        SyncFailure.objects.create(run=run, customer_id=key, reason="?")
    text = "3 customers failed in the last run, 1 hour ago; all others are mirrored."
    assert read_notices(viewer) == [("warn", f"{text} Run #{run.pk}")]
    CustomerObservation.objects.update(answered_at=hours_ago(0))
    assert read_notices(viewer)[0][1].startswith("1 customer failed in the last run")
    SyncFailure.objects.filter(customer_id="?").delete()
    SyncRun.objects.update(failed=2)
    assert read_notices(viewer) == []


def test_runs_that_begin_no_more_are_missed(viewer: Client, organization: Organization) -> None:
    end_run(organization, "succeeded", hours=50)
    text = "The last run ended 2 days ago, and none has begun since. Is Celery beat running?"
    assert read_notices(viewer)[0][1].startswith(text)
    SyncRun.objects.create(organization=organization)
    assert read_notices(viewer) == []


def test_run_that_nobody_works_on_is_told(viewer: Client, organization: Organization) -> None:
    end_run(organization, "succeeded")
    run = SyncRun.objects.create(organization=organization)
    SyncRun.objects.filter(pk=run.pk).update(heartbeat_at=hours_ago(1))
    text = f"A run has not ended, and nobody works on it; it can be resumed. Run #{run.pk}"
    assert read_notices(viewer) == [("warn", text)]


def test_verification_is_told_without_a_link_to_where_one_may_not_go(
    make_client: Callable[..., Client], organization: Organization
) -> None:
    time = hours_ago(3)
    Verification.objects.create(organization=organization, started_at=time, finished_at=time, checked=9, differing=2)
    end_run(organization, "succeeded")
    (notice,) = read_notices(make_client("view_syncrun", is_viewer=False))
    assert notice == ("warn", "2 customers differed from Polar when the mirror was last verified, 3 hours ago.")


def test_verification_that_found_something_is_told(viewer: Client, organization: Organization) -> None:
    end_run(organization, "succeeded")
    fields = {"started_at": hours_ago(3), "finished_at": hours_ago(3), "checked": 100, "differing": 3, "repaired": 1}
    Verification.objects.create(organization=organization, **fields)
    text = "2 customers differed from Polar when the mirror was last verified, 3 hours ago. What differed"
    assert read_notices(viewer) == [("warn", text)]


def test_organizations_are_named_where_there_are_several(viewer: Client, organization: Organization) -> None:
    other = create_organization("other", polar_id=UUID(int=1))
    end_run(organization, "succeeded")
    end_run(other, "failed", "error", detail="?")
    ((_, text),) = read_notices(viewer)
    assert text.startswith("other: The last run failed")
    assert "No run has succeeded yet." in viewer.get(OVERVIEW).content.decode()


def test_nothing_is_said_to_who_may_not_view_runs(make_client: Any, organization: Organization) -> None:
    end_run(organization, "failed", "error", detail="?")
    assert read_notices(make_client("view_customer", is_viewer=False)) == []


def test_notices_cost_few_statements_however_many_organizations(organization: Organization) -> None:
    for number in range(1, 6):
        end_run(create_organization(f"o{number}", polar_id=UUID(int=number)), "failed", "polar_error")
    SyncRun.objects.create(organization=organization)
    organizations = list(Organization.objects.select_related("verification", "webhook_feed"))
    with CaptureQueriesContext(connection) as queries:
        assert len(find_notices(organizations, answered={}, counts={}, site_name="admin", may=lambda _: True)) == 6
    assert len(queries) == 2


def create_feed(organization: Organization, **fields: Any) -> WebhookFeed:
    times = {name: hours_ago(0) for name in ("checked_at", "finished_at", "failed_read_until", "all_read_until")}
    return WebhookFeed.objects.create(organization=organization, **{"is_enabled": True, **times, **fields})


@pytest.fixture
def succeeded(organization: Organization) -> Organization:
    """An organization of which nothing but webhooks can be wrong."""
    end_run(organization, "succeeded")
    Organization.objects.update(complete_as_of=hours_ago(2))
    return organization


def test_disabled_endpoint_is_told_with_what_to_do(viewer: Client, succeeded: Organization) -> None:
    create_feed(succeeded, is_enabled=False, problem="The same in English")
    ((tone, text),) = read_notices(viewer)
    assert tone == "bad"
    assert text == (
        "Polar has disabled the webhook endpoint and makes no events until it is enabled again: on Polar's dashboard, "
        "or by manage.py polar_sync_webhook. A run is needed after that. The webhook endpoint"
    )
    assert f'<a href="/admin/polar_sync/organization/{succeeded.pk}/change/">' in viewer.get(OVERVIEW).content.decode()


def test_problem_of_the_feed_is_told_without_harm(viewer: Client, succeeded: Organization) -> None:
    create_feed(succeeded, problem="<b>InsufficientScope</b>")
    text = "The webhook deliveries cannot be followed: <b>InsufficientScope</b> The webhook endpoint"
    assert read_notices(viewer) == [("warn", text)]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"gap_since": 30}, "a run that begins once events are made again finds them."),
        ({"gap_since": 30, "gap_until": 1}, "a run that begins now finds them."),
        ({"gap_since": 30, "gap_until": 3}, ""),
        ({}, ""),
    ],
)
def test_changes_without_events_are_told_until_a_run_has_found_them(
    viewer: Client, succeeded: Organization, fields: dict[str, float], text: str
) -> None:
    """The last run began two hours ago."""
    create_feed(succeeded, **{name: hours_ago(hours) for name, hours in fields.items()})
    found = read_notices(viewer)
    assert len(found) == (1 if text else 0)
    if text:
        assert found[0][0] == "warn"
        assert text in found[0][1]
        assert date_format(timezone.localtime(hours_ago(30)), "DATETIME_FORMAT")[:6] in found[0][1]


def test_failed_deliveries_are_told_with_a_link_to_them(viewer: Client, succeeded: Organization) -> None:
    create_delivery(succeeded, "one", status="failed")
    create_delivery(succeeded, "waiting")
    text = "1 webhook delivery has failed and is not tried again by itself. Failed deliveries"
    assert read_notices(viewer) == [("warn", text)]
    (link,) = re.findall('<a href="([^"]*)">Failed deliveries</a>', viewer.get(OVERVIEW).content.decode())
    page = viewer.get(unescape(link)).content.decode()
    assert "1 webhook delivery\n" in page
    create_delivery(succeeded, "two", status="failed")
    assert read_notices(viewer)[0][1].startswith("2 webhook deliveries have failed and are not")


@pytest.mark.parametrize(
    ("codename", "texts"),
    [
        ("view_webhookdelivery", ["has failed"]),
        ("view_organization", ["has disabled"]),
        ("view_syncrun", []),
        ("view_customer", []),
    ],
)
def test_webhooks_are_told_of_to_who_may_view_them(
    make_client: Callable[..., Client], succeeded: Organization, codename: str, texts: list[str]
) -> None:
    create_feed(succeeded, is_enabled=False)
    create_delivery(succeeded, "one", status="failed")
    found = [text for _tone, text in read_notices(make_client(codename, is_viewer=False))]
    assert len(found) == len(texts)
    assert all(text in sentence for text, sentence in zip(texts, found, strict=True))
