"""The overview at the top of the app's index: its figures, and what it says of them."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.formats import date_format

from polar_sync.admin.figures import compute_figures, get_figures
from polar_sync.models import CustomerObservation, DailyStatistics, Organization, Product, SyncRun, Verification
from tests import factories
from tests.factories import (
    apply_states,
    build_full_state,
    build_grant,
    build_meter,
    build_state,
    build_subscription,
    read_at,
)

pytestmark = pytest.mark.django_db


def test_figures_are_of_living_customers_and_present_subscriptions(organization: Organization) -> None:
    Product.objects.create(pk=factories.make_uuid("quarterly"), organization=organization, recurring_interval_count=3)
    quarterly = {"amount": 900, "product_id": factories.make_id("quarterly")}
    apply_states(
        organization,
        build_state(
            "one",
            subscriptions=[
                build_subscription("month"),
                build_subscription("year", amount=12000, recurring_interval="year"),
                build_subscription("euro", currency="eur", amount=700),
                build_subscription("quarterly", **quarterly),
                build_subscription("strange", recurring_interval="eon"),
                build_subscription("trial", status="trialing", amount=9999),
                build_subscription("free", amount=None),
            ],
            grants=[build_grant("a"), build_grant("b", benefit_type="discord")],
            meters=[build_meter("low", balance=-1), build_meter("high", balance=5, consumed_units=2, credited_units=7)],
        ),
        build_state("two"),
        build_full_state("gone"),
        interval=read_at(0),
    )
    factories.apply_absences(organization, "gone", interval=read_at(1))
    now = timezone.now()
    CustomerObservation.objects.filter(pk=factories.make_uuid("one")).update(state_observed_at=now)
    CustomerObservation.objects.filter(pk=factories.make_uuid("two")).update(state_observed_at=now - timedelta(days=2))
    figures = compute_figures()
    assert figures.customers == 2
    assert figures.subscriptions == {"active": 6, "trialing": 1}
    assert figures.revenue == {"usd": pytest.approx(2500 + 1000 + 300), "eur": pytest.approx(700)}
    assert figures.uncounted == 1
    assert figures.grants == {"custom": 1, "discord": 1}
    assert figures.granted == 2
    assert figures.below_zero == 1
    (meter,) = figures.meters
    assert meter.consumed == pytest.approx(2.3)
    assert meter.credited == 7
    assert figures.fresh == {"hour": 1, "day": 1, "week": 2}
    assert sum(figures.growth.customers) == 2
    assert sum(figures.growth.subscriptions) == 7


def test_figures_survive_numbers_beyond_reason(organization: Organization) -> None:
    far = build_full_state("far", children=3)
    for number, one in enumerate(far["active_subscriptions"]):
        one |= {"amount": 2**63 - 1, "currency": "x" * 900 + str(number), "started_at": "9999-12-31T23:59:59Z"}
    for one in far["active_meters"]:
        one |= {"consumed_units": 1e308, "credited_units": -1e308, "balance": -1e308}
    far["created_at"] = "0001-01-01T00:00:00Z"
    apply_states(organization, far, build_full_state("near"), interval=read_at(0))
    figures = compute_figures()
    assert figures.below_zero >= 3
    assert len(figures.growth.starts) < 200


@pytest.mark.parametrize(("days", "unit"), [(0, "hour"), (2, "hour"), (40, "day"), (400, "month"), (3000, "year")])
def test_periods_fit_the_plot(organization: Organization, days: int, unit: str) -> None:
    first = timezone.now().replace(year=2016, month=1, day=31)
    for number, moment in enumerate((first, first + timedelta(days=days))):
        text = moment.isoformat().replace("+00:00", "Z")
        apply_states(organization, build_state(number, created_at=text), interval=read_at(number))
    growth = compute_figures().growth
    assert growth.unit == unit
    assert sum(growth.customers) == 2
    assert growth.starts == sorted(set(growth.starts))
    assert len(growth.starts) <= 100


def test_figures_are_kept_for_a_minute(organization: Organization) -> None:
    first = get_figures()
    apply_states(organization, build_state("one"), interval=read_at(0))
    assert get_figures() == first
    assert compute_figures().customers == 1


def test_overview_shows_figures_plots_and_runs(viewer: Client, organization: Organization, names: None) -> None:
    apply_states(organization, *(build_full_state(number) for number in range(3)), interval=read_at(0))
    SyncRun.objects.create(organization=organization, status="partial", reason="moving")
    with CaptureQueriesContext(connection) as queries:
        page = viewer.get("/admin/polar_sync/").content.decode()
    assert len(queries) <= 20
    assert page.count('<svg class="polar-standing" role="img"') == 1
    assert page.count("The numbers as a table") == 1
    assert page.count('<th scope="rowgroup"') == 1
    for text in ("monthly recurring revenue", "API requests", "moving", "last week", "Last runs"):
        assert text in page, text
    assert "style=" not in page.split('<div class="polar-overview">')[1].split("content-related")[0]
    with CaptureQueriesContext(connection) as queries:
        viewer.get("/admin/polar_sync/")
    assert len(queries) <= 11


def test_empty_mirror_has_an_overview_too(viewer: Client) -> None:
    page = viewer.get("/admin/polar_sync/").content.decode()
    assert "No run yet." in page
    assert "Nothing to plot yet." in page


def test_one_is_counted_as_one(viewer: Client, organization: Organization) -> None:
    one, trial = build_subscription("one"), build_subscription("trial", status="trialing")
    low = build_meter("low", balance=-1)
    apply_states(organization, build_state("one", subscriptions=[one, trial], meters=[low]), interval=read_at(0))
    page = viewer.get("/admin/polar_sync/").content.decode()
    for name in ("customer", "active subscription", "trialing subscription", "meter below zero"):
        assert f"<span>{name}</span>" in page, name


@pytest.mark.parametrize(
    ("codename", "texts"),
    [
        ("view_syncrun", ["Last runs"]),
        ("view_organization", ["Organizations</h2>"]),
        ("view_customer", ["<span>customers</span>", "Freshness", "by the time they started"]),
        (
            "view_subscription",
            ["active subscriptions</span>", "trialing", "monthly recurring revenue", "by the time they started"],
        ),
        ("view_benefitgrant", ["Granted benefits by type"]),
        ("view_meter", ["meters below zero", "Meters: units consumed"]),
    ],
)
def test_overview_keeps_to_what_one_may_view(
    make_client: Callable[..., Client], organization: Organization, codename: str, texts: list[str]
) -> None:
    apply_states(organization, build_full_state("one"), build_full_state("two"), interval=read_at(0))
    SyncRun.objects.create(organization=organization, status="succeeded")
    overview = make_client(codename, is_viewer=False).get("/admin/polar_sync/").content.decode()
    overview = overview.split('<div class="polar-overview">')[1].split('<div id="content-main">')[0]
    every = {
        *("Last runs", "Organizations</h2>", "<span>customers</span>", "Freshness", "by the time they started"),
        *("active subscriptions</span>", "trialing", "monthly recurring revenue", "Granted benefits by type"),
        *("meters below zero", "Meters: units consumed"),
    }
    assert {text for text in every if text in overview} == set(texts)


def test_plot_of_growth_has_only_what_one_may_view(
    make_client: Callable[..., Client], organization: Organization
) -> None:
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    page = make_client("view_customer", is_viewer=False).get("/admin/polar_sync/").content.decode()
    assert 'class="polar-a" x=' in page
    assert 'class="polar-b" x=' not in page


def test_overview_shows_how_the_numbers_went(viewer: Client, organization: Organization) -> None:
    """Revenue by currency, each for itself; without a line where a currency has none yet."""
    today = timezone.localdate()
    for days_ago, revenue in ((20, {"usd": 1000}), (0, {"usd": 2500, "eur": 700})):
        DailyStatistics.objects.create(
            organization=organization,
            date=today - timedelta(days=days_ago),
            customers=100 - days_ago,
            active_subscriptions=50,
            monthly_recurring_revenue=revenue,
        )
    subscriptions = [
        build_subscription("dollar", currency="usd", amount=2500),
        build_subscription("euro", currency="eur", amount=700),
        build_subscription("yen", currency="jpy", amount=700),
    ]
    apply_states(organization, build_state("one", subscriptions=subscriptions), interval=read_at(0))
    page = viewer.get("/admin/polar_sync/").content.decode()
    since = date_format(today - timedelta(days=20), "MONTH_DAY_FORMAT")
    for change in ("+20", "unchanged", "+15.00 USD", "+7.00 EUR"):
        assert f"{change} since {since}" in page
    assert page.count('class="polar-spark"') == 4
    assert "<strong>700 JPY</strong></li>" in page


def test_last_verification_is_shown_with_what_differed(viewer: Client, organization: Organization) -> None:
    for path in ("/admin/polar_sync/", f"/admin/polar_sync/organization/{organization.pk}/change/"):
        assert "customers differed" not in viewer.get(path).content.decode()
    now = timezone.now()
    Verification.objects.create(
        organization=organization,
        started_at=now,
        finished_at=now,
        checked=1200,
        differing=3,
        repaired=2,
        failed=1,
        examples=["subscription <b>x</b>.amount is 999 in the mirror and 100 in Polar"],
    )
    text = "3 of 1,200 customers differed, 2 repaired, 1 could not be asked about"
    with CaptureQueriesContext(connection) as queries:
        page = viewer.get("/admin/polar_sync/").content.decode()
    assert text in page
    assert len(queries) <= 20
    page = viewer.get(f"/admin/polar_sync/organization/{organization.pk}/change/").content.decode()
    assert text in page
    assert "subscription &lt;b&gt;x&lt;/b&gt;.amount is 999" in page
    assert text in viewer.get("/admin/polar_sync/organization/").content.decode()


@pytest.mark.parametrize(
    ("fields", "label", "text"),
    [
        ({"checked": 100}, "good", "Equal</span> 0 of 100 customers differed"),
        ({"checked": 1}, "good", "Equal</span> 0 of 1 customer differed"),
        ({"checked": 9, "differing": 2, "repaired": 2}, "good", "Equal</span> 2 of 9 customers differed, 2 repaired"),
        (
            {"checked": 9, "failed": 1},
            "warn",
            "Incomplete</span> 0 of 9 customers differed, 1 could not be asked about",
        ),
        ({"checked": 9, "differing": 1, "failed": 8}, "bad", "Differs</span> 1 of 9 customers differed, 8 could not"),
        ({"checked": 0}, "plain", "Nobody to compare</span> 0 of 0 customers differed"),
    ],
)
def test_verification_is_called_what_it_was(
    viewer: Client, organization: Organization, fields: dict[str, int], label: str, text: str
) -> None:
    now = timezone.now()
    Verification.objects.create(organization=organization, started_at=now, finished_at=now, **fields)
    page = viewer.get(f"/admin/polar_sync/organization/{organization.pk}/change/").content.decode()
    assert f'<span class="polar-label polar-{label}">{text}' in page


def test_last_success_is_told_to_who_may_view_runs_alone(
    make_client: Callable[..., Client], organization: Organization
) -> None:
    Organization.objects.update(last_succeeded_at=timezone.now() - timedelta(hours=1))
    page = make_client("view_syncrun", is_viewer=False).get("/admin/polar_sync/").content.decode()
    assert "Everything was last mirrored 1 hour ago." in page
