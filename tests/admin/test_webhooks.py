"""How fresh the mirror is by what Polar reports: on the overview and on an organization's page."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from polar_sync.models import Organization, WebhookDelivery, WebhookFeed
from tests.factories import create_delivery, create_organization

OVERVIEW = "/admin/polar_sync/"
pytestmark = pytest.mark.django_db


def hours_ago(hours: float) -> datetime:
    return timezone.now() - timedelta(hours=hours)


def read_row(client: Client, heading: str, name: str = "default") -> dict[str, str]:
    """The cells of an organization's row in a table of the overview, by their headings."""
    page = client.get(OVERVIEW).content.decode()
    section = page.split(f">{heading}</h2>")[1].split("</section>")[0]
    row = next(row for row in section.split("<tr>") if f"<bdi>{name}</bdi>" in row)
    cells = re.findall('<td [^>]*data-label="([^"]*)"[^>]*>(.*?)</td>', row, re.DOTALL)
    return {label: unescape(re.sub("<[^>]+>", "", text)).strip() for label, text in cells}


def deliver(organization: Organization, *lags: float, minutes_ago: float = 5, via: str = "webhook") -> None:
    """Deliveries that came so many seconds after Polar's time."""
    received = timezone.now() - timedelta(minutes=minutes_ago)
    for lag in lags:
        name = f"{organization} {WebhookDelivery.objects.count()}"
        times = {"received_at": received, "timestamp": received - timedelta(seconds=lag)}
        create_delivery(organization, name, status="processed", via=via, **times)


def test_overview_tells_what_is_proven_and_what_is_told(viewer: Client, organization: Organization) -> None:
    Organization.objects.update(complete_as_of=hours_ago(30))
    row = read_row(viewer, "Organizations")
    assert (row["complete as of"], row["told until"]) == ("1 day ago", "–")
    WebhookFeed.objects.create(organization=organization, failed_read_until=hours_ago(3))
    assert read_row(viewer, "Organizations")["told until"] == "3 hours ago"


def test_lag_is_of_what_polar_sent_in_the_last_hour(viewer: Client, organization: Organization) -> None:
    deliver(organization, *range(1, 101))
    deliver(organization, 1000, via="feed")
    deliver(organization, 1000, minutes_ago=61)
    row = read_row(viewer, "Webhook deliveries")
    assert (row["median lag"], row["lag of 95 %"]) == ("50 s", "1 min 35 s")


def test_lag_of_each_organization_is_its_own(viewer: Client, organization: Organization) -> None:
    other = create_organization("other", polar_id=UUID(int=1))
    deliver(organization, 0.25)
    deliver(other, 7200)
    with CaptureQueriesContext(connection) as queries:
        assert read_row(viewer, "Webhook deliveries")["median lag"] == "0.2 s"
    assert len([query for query in queries if '"received_at" >=' in query["sql"]]) == 1
    assert read_row(viewer, "Webhook deliveries", "other")["median lag"] == "2 h 0 min"


def test_lag_is_read_from_so_many_rows_at_most(
    viewer: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.admin.delivery_figures.MAX_LAGS", 3)
    deliver(organization, 900, 900, 900, minutes_ago=30)
    deliver(organization, 20, 20, 20, minutes_ago=1)
    assert read_row(viewer, "Webhook deliveries")["lag of 95 %"] == "20 s"


def test_waiting_and_failed_deliveries_are_counted(
    viewer: Client, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_organization("other", polar_id=UUID(int=1))
    for number in range(4):
        create_delivery(organization, number, received_at=hours_ago(2))
    create_delivery(organization, "failed", status="failed", received_at=hours_ago(2))
    create_delivery(organization, "done", status="processed", received_at=hours_ago(2))
    create_delivery(other, "elsewhere", status="failed")
    row = read_row(viewer, "Webhook deliveries")
    assert (row["waiting"], row["failed"], row["median lag"]) == ("4", "1", "–")
    assert read_row(viewer, "Webhook deliveries", "other")["waiting"] == "0"
    for module in ("delivery_figures", "overview"):
        monkeypatch.setattr(f"polar_sync.admin.{module}.COUNT_LIMIT", 2)
    with CaptureQueriesContext(connection) as queries:
        assert read_row(viewer, "Webhook deliveries")["waiting"] == "2+"
    (counting,) = (query["sql"] for query in queries if "AS counted" in query["sql"])
    assert counting.count("LIMIT 3) AS counted") == 2, "more is counted than is shown"


def test_project_without_webhooks_has_no_table_of_them(viewer: Client, organization: Organization) -> None:
    assert "Webhook deliveries</h2>" not in viewer.get(OVERVIEW).content.decode()


def test_table_is_shown_to_who_may_view_deliveries(
    make_client: Callable[..., Client], organization: Organization
) -> None:
    create_delivery(organization, "one")
    for codename, is_shown in (("view_webhookdelivery", True), ("view_organization", False)):
        page = make_client(codename, is_viewer=False).get(OVERVIEW).content.decode()
        assert ("Webhook deliveries</h2>" in page) == is_shown, codename


def test_page_of_an_organization_shows_the_endpoint_without_its_secrets(
    viewer: Client, organization: Organization
) -> None:
    WebhookFeed.objects.create(
        organization=organization,
        endpoint_url="https://user:never@shop.example/polar/hook?key=never#never",
        is_enabled=False,
        problem="PermissionDenied: webhooks:read",
        gap_since=hours_ago(5),
        all_read_until=hours_ago(3),
    )
    page = viewer.get(f"{OVERVIEW}organization/{organization.pk}/change/").content.decode()
    for text in ("https://shop.example/polar/hook<", ">No</span>", "webhooks:read", "5 hours ago", "3 hours ago"):
        assert text in page, text
    assert "never" not in page.split('id="content"')[1]


def test_page_of_an_organization_without_webhooks_shows_dashes(viewer: Client, organization: Organization) -> None:
    page = viewer.get(f"{OVERVIEW}organization/{organization.pk}/change/").content.decode()
    assert page.split("Webhook endpoint")[1].count('class="polar-none"') == 8
