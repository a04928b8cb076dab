from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from polar_sync.models import (
    Customer,
    CustomerObservation,
    DailyStatistics,
    Organization,
    SyncFailure,
    SyncPage,
    SyncRun,
)
from polar_sync.payloads import Interval
from polar_sync.store import Outcome, pruning
from polar_sync.store.pruning import prune_customers, prune_runs, prune_statistics
from tests.factories import (
    CREATED_AT,
    apply_absences,
    apply_customers,
    apply_states,
    build_customer,
    build_full_state,
    make_id,
    make_uuid,
    normalize_state,
)
from tests.store.support import take_snapshot

PERSONAL = "Ada Lovelace"
MODIFIED_AT = "2025-05-05T05:05:05Z"


def days_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def build_personal(name: str, **fields: Any) -> dict[str, Any]:
    """Polar's own fields and unknown ones, all of them telling who it is."""
    texts = ("external_id", "email", "name", "billing_name", "locale", "avatar_url", "nickname", PERSONAL)
    return build_customer(
        name,
        **dict.fromkeys(texts, PERSONAL),
        metadata={PERSONAL: PERSONAL},
        billing_address={"line1": PERSONAL, "country": PERSONAL},
        tax_id=[PERSONAL, "us_ein"],
        default_payment_method_id=make_id("payment method"),
        first_user_event_at=CREATED_AT,
        modified_at=MODIFIED_AT,
        **fields,
    )


def bury(organization: Organization, name: str, *, days: float, **fields: Any) -> None:
    state = {**build_full_state(name), **build_personal(name), "further in states": PERSONAL}
    apply_states(organization, state, interval=Interval.at(days_ago(days + 2)))
    apply_customers(organization, build_personal(name, **fields), interval=Interval.at(days_ago(days + 1)))
    apply_absences(organization, name, interval=Interval.at(days_ago(days)))


@pytest.fixture
def choose(settings: Any) -> Any:
    def choose(action: str, **others: Any) -> None:
        settings.POLAR_SYNC = {"DELETED_CUSTOMERS": action, **others}

    return choose


def list_names() -> set[Any]:
    return {row.external_id for row in Customer.all_objects.all()}


def test_deleted_customers_are_kept_where_nothing_else_is_said(organization: Organization, settings: Any) -> None:
    settings.POLAR_SYNC = {}
    bury(organization, "a", days=1_000)
    before = take_snapshot(without=())
    assert prune_customers() == ("keep", 0)
    assert take_snapshot(without=()) == before


@pytest.mark.parametrize("fields", [{}, {"deleted_at": "2025-06-06T00:00:00Z"}], ids=["absent", "deleted"])
def test_scrubbed_customer_tells_of_nobody(organization: Organization, choose: Any, fields: dict[str, Any]) -> None:
    choose("scrub")
    bury(organization, "a", days=31, **fields)
    deleted_at = Customer.all_objects.get().deleted_at
    assert prune_customers() == ("scrub", 1)
    row = Customer.all_objects.get()
    columns = {field.attname: getattr(row, field.attname) for field in Customer._meta.concrete_fields}
    assert PERSONAL not in str([columns, row.to_polar(), row.state()])
    kept = {"id", "organization_id", "created_at", "modified_at", "deleted_at", "type", "payload", "synced_at"}
    empty = {name for name, value in columns.items() if not value}
    assert set(columns) - empty == kept | {"scrubbed_at"}
    assert row.deleted_at == deleted_at
    assert row.to_polar()["modified_at"] == MODIFIED_AT
    for name in ("metadata", "tax_id", "billing_address"):
        assert Customer.all_objects.filter(**{f"{name}__isnull": True}).exists(), name


def test_customer_is_scrubbed_once(organization: Organization, choose: Any) -> None:
    choose("scrub")
    bury(organization, "a", days=31)
    assert prune_customers() == ("scrub", 1)
    before = take_snapshot(without=())
    assert prune_customers() == ("scrub", 0)
    assert take_snapshot(without=()) == before


@pytest.mark.parametrize("action", ["scrub", "delete"])
def test_only_those_deleted_long_enough_ago_are_forgotten(organization: Organization, choose: Any, action: str) -> None:
    choose(action)
    bury(organization, "old", days=30.1)
    bury(organization, "new", days=29.9)
    apply_states(organization, build_full_state("living"), interval=Interval.at(days_ago(1_000)))
    assert prune_customers() == (action, 1)
    assert list_names() - {None} == {PERSONAL, "usr_living"}
    choose(action, DELETED_CUSTOMERS_AFTER_DAYS=29)
    assert prune_customers() == (action, 1)
    assert list_names() - {None} == {"usr_living"}


def test_deleted_customer_is_removed_with_what_was_known_of_it(organization: Organization, choose: Any) -> None:
    choose("delete")
    bury(organization, "a", days=31)
    assert prune_customers() == ("delete", 1)
    assert not any(take_snapshot().values())


@pytest.mark.parametrize("action", ["scrub", "delete"])
def test_any_number_is_forgotten_in_batches(
    organization: Organization, choose: Any, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(action)
    monkeypatch.setattr(pruning, "_BATCH", 2)
    for name in "abcde":
        bury(organization, name, days=31)
    assert prune_customers() == (action, 5)
    assert prune_customers() == (action, 0)


def test_word_from_before_the_deletion_brings_nothing_back(organization: Organization, choose: Any) -> None:
    choose("scrub")
    bury(organization, "a", days=31)
    prune_customers()
    before = take_snapshot(without=("answered_at",))
    result = apply_states(organization, build_full_state("a"), interval=Interval.at(days_ago(31.5)))
    assert result.outcomes == {make_uuid("a"): Outcome.STALE}
    assert take_snapshot(without=("answered_at",)) == before


def test_customer_that_polar_tells_of_again_is_whole_again(organization: Organization, choose: Any) -> None:
    choose("scrub")
    bury(organization, "a", days=31)
    prune_customers()
    state = {**build_full_state("a"), "modified_at": MODIFIED_AT}
    apply_states(organization, state, interval=Interval.at(days_ago(1)))
    row = Customer.objects.get()
    assert normalize_state(row.state()) == normalize_state(state)
    assert row.scrubbed_at is None


def test_customer_that_is_deleted_again_is_scrubbed_again(organization: Organization, choose: Any) -> None:
    choose("scrub")
    bury(organization, "a", days=35)
    prune_customers()
    apply_customers(organization, build_personal("a", deleted_at=MODIFIED_AT), interval=Interval.at(days_ago(32)))
    assert Customer.all_objects.get().name == PERSONAL
    assert prune_customers() == ("scrub", 1)
    assert Customer.all_objects.get().name is None


def test_only_finished_runs_of_a_certain_age_are_removed(organization: Organization, settings: Any) -> None:
    settings.POLAR_SYNC = {"KEEP_RUNS_DAYS": 10}
    bury(organization, "a", days=31)
    old, new, running = (
        SyncRun.objects.create(organization=organization, status=status, started_at=days_ago(11), finished_at=finished)
        for status, finished in (
            (SyncRun.Status.FAILED, days_ago(10.1)),
            (SyncRun.Status.SUCCEEDED, days_ago(9.9)),
            (SyncRun.Status.RUNNING, None),
        )
    )
    for run in (old, new, running):
        SyncPage.objects.create(run=run, number=1)
        SyncFailure.objects.create(run=run, customer_id=make_id("a"), reason="?")
    assert prune_runs() == 1
    for model in (SyncPage, SyncFailure):
        assert set(model._default_manager.values_list("run", flat=True)) == {new.pk, running.pk}
    assert set(SyncRun.objects.all()) == {new, running}
    assert CustomerObservation.objects.count() == 1


def test_statistics_are_kept_for_some_days(organization: Organization, settings: Any) -> None:
    today = timezone.localdate()
    for days in (0, 10, 11, 400, 401):
        day = today - timedelta(days=days)
        DailyStatistics.objects.create(organization=organization, date=day, customers=1, active_subscriptions=1)
    settings.POLAR_SYNC = {}
    assert prune_statistics() == 1
    settings.POLAR_SYNC = {"KEEP_STATISTICS_DAYS": 10}
    assert prune_statistics() == 2
    assert {(today - row.date).days for row in DailyStatistics.objects.all()} == {0, 10}
