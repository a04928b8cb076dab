"""Trouble on the way: what the run ends as, and that nobody living is lost or marked deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, SyncPage, SyncRun
from polar_sync.states import PerCustomerSource
from polar_sync.sync import Progress
from polar_sync.testing import FakePolar, Fault
from tests.sync.conftest import Run, change_organization, get_end
from tests.sync.socketless import check_counts, count_asked, lie_about_pages, read_mirror, read_polar

pytestmark = pytest.mark.django_db

STATE = "customers:get_state"
GET = "customers:get"
LIST = "customers:list"


def count_living() -> int:
    number: int = Customer.objects.count()
    return number


def test_first_run_of_300_customers_takes_exactly_303_requests(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(300)
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.listed, ended.created) == (300, 300)
    assert count_asked(polar) == (3, 300)
    assert ended.requests == len(polar.requests)
    assert read_mirror() == read_polar(polar)


def test_second_run_finds_everybody_unchanged(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(30)
    run()
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.listed, ended.unchanged) == (30, 30)


def test_run_counts_each_customer_once_by_what_became_of_it(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(30)
    run()
    first, second, third, *_ = polar.customers
    polar.update_customer(first, name="Ada")
    state = polar.get_state(second)
    polar.replace_state(second, {**state, "active_meters": [], "granted_benefits": [], "active_subscriptions": []})
    polar.delete_customer(third)
    polar.create_customer(name="Grace")
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    changed = 1 + any(state[name] for name in ("active_meters", "granted_benefits", "active_subscriptions"))
    assert (ended.created, ended.updated, ended.deleted) == (1, changed, 1)
    assert (ended.listed, ended.unchanged) == (31, 31 - 2 - changed)
    assert read_mirror() == read_polar(polar)


@pytest.mark.parametrize("operation", [LIST, STATE, None])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate_limit", "retry_after": 0},
        {"kind": "server_error", "status": 502},
        {"kind": "server_error", "status": 503},
        {"kind": "cut"},
    ],
    ids=lambda fault: f"{fault['kind']} {fault.get('status', '')}".strip(),
)
def test_trouble_that_passes_is_sat_out(
    fault: dict[str, Any], operation: str | None, polar: FakePolar, run: Run
) -> None:
    polar.generate_customers(40)
    polar.faults.add(Fault(**fault, operation=operation, times=3))
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert ended.listed == ended.created == 40
    assert ended.requests == len(polar.requests)
    if operation is not None:
        assert sum(count_asked(polar)) == 1 + 40 + 3
    assert read_mirror() == read_polar(polar)


def test_storm_of_refusals_is_waited_out_and_takes_no_wrong_turn(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    polar.faults.add(Fault(kind="rate_limit", retry_after=0, times=None, chance=0.3))
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert ended.unchanged == 20
    assert count_living() == 20


@pytest.mark.parametrize(("operation", "customers"), [(LIST, 0), (STATE, 20)], ids=["the list", "states"])
@pytest.mark.parametrize("kind", ["server_error", "cut", "truncate", "malformed"])
def test_trouble_that_lasts_is_never_a_success(
    kind: Any, operation: str, customers: int, polar: FakePolar, run: Run, settings: Any
) -> None:
    """Without the list the run fails; without states it is partial, with each customer's reason."""
    polar.generate_customers(20)
    run()
    polar.faults.add(Fault(kind=kind, operation=operation, times=None))
    ended = run()
    assert get_end(ended) == (("partial", "customers_failed") if customers else ("failed", "polar_error"))
    assert ended.failed == ended.listed == customers
    assert count_living() == 20
    polar.faults.clear()
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert read_mirror() == read_polar(polar)


def test_customer_whose_state_fails_is_a_failure_and_the_others_are_written(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(100)
    broken = polar.customers[50]
    polar.replace_state(broken, ["not", "a", "state"])
    ended = run()
    assert get_end(ended) == ("partial", "customers_failed")
    assert (ended.listed, ended.created, ended.failed) == (100, 99, 1)
    (failure,) = ended.failures.all()
    assert failure.customer_id == broken
    assert failure.reason
    polar.delete_customer(broken)
    assert {key: state for key, state in read_mirror().items() if key != broken} == read_polar(polar)


@pytest.mark.parametrize("item", [None, 7, "text", [], {}, {"id": None}, {"id": "not a uuid"}], ids=repr)
def test_malformed_item_of_the_list_is_isolated(item: Any, polar: FakePolar, run: Run) -> None:
    polar.generate_customers(99)
    polar.put_raw_item(item)
    ended = run()
    assert get_end(ended) == ("partial", "customers_failed")
    assert (ended.listed, ended.created, ended.failed) == (100, 99, 1)
    assert ended.failures.get().reason
    assert count_living() == 99


def test_token_revoked_in_mid_run_fails_the_run_and_keeps_what_arrived(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(150)
    polar.before(STATE, lambda: polar.revoke_token(polar.access_token), after=120)
    ended = run()
    assert get_end(ended) == ("failed", "authentication")
    assert ended.created == count_living() == 120
    assert not Customer.all_objects.exclude(deleted_at=None).exists()


def test_token_revoked_while_absences_are_confirmed_marks_nobody(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    for customer_id in polar.customers[:2]:
        polar.delete_customer(customer_id)
    polar.before(GET, lambda: polar.revoke_token(polar.access_token))
    ended = run()
    assert get_end(ended) == ("failed", "authentication")
    assert count_living() == 20


def test_token_without_the_scope_fails_the_run_and_names_it(polar: FakePolar, run: Run, settings: Any) -> None:
    polar.generate_customers(20)
    run()
    change_organization(settings, ACCESS_TOKEN=polar.create_token(scopes=["products:read"]))
    ended = run()
    assert get_end(ended) == ("failed", "missing_scope")
    assert "customers:read" in ended.detail
    assert count_living() == 20


def test_token_of_another_organization_fails_the_run_before_anything_is_written(
    polar: FakePolar, run: Run, settings: Any
) -> None:
    polar.generate_customers(20)
    run()
    before = read_mirror()
    other = polar.add_organization(customers=30, seed=9)
    change_organization(settings, ACCESS_TOKEN=other.access_token)
    ended = run()
    assert get_end(ended) == ("failed", "organization_mismatch")
    assert ended.listed == 0
    assert read_mirror() == before


def test_token_of_an_empty_organization_marks_nobody(polar: FakePolar, run: Run, settings: Any) -> None:
    polar.generate_customers(5)
    run()
    change_organization(settings, ACCESS_TOKEN=polar.add_organization().access_token)
    ended = run()
    assert get_end(ended) == ("partial", "empty_listing")
    assert count_living() == 5


@pytest.mark.parametrize("customers", [5, 30])
def test_empty_listing_marks_nobody(customers: int, polar: FakePolar, run: Run) -> None:
    polar.generate_customers(customers)
    run()
    answer = {"items": [], "pagination": {"total_count": 0, "max_page": 0}}
    polar.faults.add(Fault(kind="malformed", operation=LIST, body=answer, times=None))
    ended = run()
    assert get_end(ended) == ("partial", "empty_listing")
    assert count_living() == customers
    assert polar.counts[STATE] == customers


def test_empty_organization_is_a_success(polar: FakePolar, run: Run) -> None:
    assert get_end(run()) == ("succeeded", "")


def test_bare_404_of_the_list_fails_the_run(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    polar.faults.add(Fault(kind="bare_404", operation=LIST, times=None))
    ended = run()
    assert get_end(ended) == ("failed", "route_not_found")
    assert count_living() == 20


def test_bare_404_marks_nobody(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    gone = polar.customers[:2]
    for customer_id in gone:
        polar.delete_customer(customer_id)
    for operation in (STATE, GET):
        polar.faults.add(Fault(kind="bare_404", operation=operation, times=None))
    ended = run()
    assert get_end(ended) == ("partial", "customers_failed")
    assert (ended.failed, ended.deleted) == (20, 0)
    assert count_living() == 20
    polar.faults.clear()
    assert run().deleted == 2
    assert read_mirror() == read_polar(polar)


def test_customer_deleted_between_list_and_state_is_marked(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(20)
    run()
    gone = polar.customers[10]
    polar.before(STATE, lambda: polar.delete_customer(gone))
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert (ended.deleted, ended.unchanged) == (1, 19)
    assert read_mirror() == read_polar(polar)


def test_failure_is_not_asked_again_nor_counted_twice_when_the_page_is(polar: FakePolar, run: Run) -> None:
    """A confirmation page that is interrupted after one of its customers failed."""
    polar.generate_customers(20)
    run()
    gone = sorted(polar.customers[:3])
    for customer_id in gone:
        polar.delete_customer(customer_id)
    # They are asked for in the order of ids.
    polar.faults.add(Fault(kind="bare_404", operation=GET))
    polar.faults.add(Fault(kind="server_error", operation=GET, times=4))
    ended = run()
    assert get_end(ended) == ("partial", "customers_failed")
    assert (ended.listed, ended.unchanged, ended.deleted, ended.failed) == (20, 17, 2, 1)


def test_budget_of_ten_a_minute_is_kept_and_the_run_succeeds(
    polar: FakePolar, run: Run, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute lasts a second here, and less on the side that counts what arrives, on a busy machine too."""
    monkeypatch.setattr("polar_sync.client.rate_limit.WINDOW", 1.0)
    monkeypatch.setattr("polar_sync.testing.app.WINDOW", timedelta(seconds=0.2))
    change_organization(settings, REQUESTS_PER_MINUTE=10)
    polar.generate_customers(25)
    polar.rate_limit = 10
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert ended.created == 25
    assert count_asked(polar) == (1, 25)
    assert ended.requests == len(polar.requests)
    assert ended.throttled_seconds > 0
    assert polar.rate_limited == 0


def test_worker_at_ten_a_minute_gives_the_page_back_and_loses_nothing_of_it(
    polar: FakePolar, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.client.rate_limit.WINDOW", 0.1)
    change_organization(settings, REQUESTS_PER_MINUTE=10)
    polar.generate_customers(25)
    organization = polar_settings.get_organization("default")
    asked: list[int] = []
    with sync.connect(organization, max_wait=0.0) as connection:
        begun = sync.begin_run(organization)
        while (step := sync.take_step(begun.pk, connection)).progress is not Progress.ENDED:
            if step.progress is Progress.WAITING:
                begun.refresh_from_db()
                asked.append(begun.listed)
                assert begun.waiting_until is not None
                assert SyncPage.objects.get(run=begun).lease_token is None
                connection.client._transport._sender.sessions.closed.wait(step.wait)
    begun.refresh_from_db()
    check_counts(begun)
    assert get_end(begun) == ("succeeded", "")
    assert asked == sorted(asked)
    assert asked[0] > 0
    assert polar.counts[STATE] == 25
    assert SyncPage.objects.get(run=begun).claims == 1


def test_page_that_is_claimed_again_and_again_fails_its_run(polar: FakePolar, run: Run) -> None:
    """Whoever takes it dies of it: the run must not go on so for ever."""
    polar.generate_customers(5)
    organization = polar_settings.get_organization("default")
    begun = sync.begin_run(organization)
    SyncPage.objects.filter(run=begun).update(claims=10)
    SyncRun.objects.update(heartbeat_at=None)
    ended = run()
    assert (ended.pk, *get_end(ended)) == (begun.pk, "failed", "page_failed")


def test_error_in_our_own_code_gives_the_page_back_with_what_arrived(
    polar: FakePolar, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    polar.generate_customers(10)
    organization = polar_settings.get_organization("default")

    original = PerCustomerSource.fetch

    def fetch(self: PerCustomerSource, customers: Any, *, on_tick: Any) -> Any:
        yield from original(self, dict.fromkeys(sorted(customers)[:4]), on_tick=on_tick)
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(PerCustomerSource, "fetch", fetch)
        with sync.connect(organization) as connection, pytest.raises(MemoryError):
            sync.work_in_foreground(sync.begin_run(organization), connection)
    assert count_living() == 4
    assert SyncPage.objects.get().lease_token is None
    ended = run()
    assert get_end(ended) == ("succeeded", "")
    assert ended.created == 10
    assert polar.counts[STATE] == 10


@pytest.mark.parametrize("max_page", [2, 20_000])
def test_more_pages_than_there_are_customers_for_are_not_asked_for(max_page: int, polar: FakePolar, run: Run) -> None:
    polar.generate_customers(3)
    lie_about_pages(polar, lambda _: max_page)
    ended = run()
    assert (*get_end(ended), ended.created) == ("succeeded", "", 3)
    assert count_asked(polar) == (1, 3)


@pytest.mark.parametrize("max_page", [0, 1, 2])
def test_fewer_pages_than_there_are_customers_for_lose_nobody(max_page: int, polar: FakePolar, run: Run) -> None:
    polar.generate_customers(330)
    lie_about_pages(polar, lambda _: max_page)
    assert get_end(run()) == ("succeeded", "")
    assert read_mirror() == read_polar(polar)


def test_total_that_the_pages_do_not_come_up_to_is_no_success(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(80)
    items = [polar.get_customer(key) for key in polar.customers]
    answer = {"items": items, "pagination": {"total_count": 230, "max_page": 1}}
    polar.faults.add(Fault(kind="malformed", operation=LIST, body=answer, times=None))
    assert get_end(run()) == ("partial", "moving")
    assert polar.counts[LIST] == 3


@pytest.mark.parametrize("operation", [LIST, STATE])
def test_error_text_that_no_database_takes_is_stored_without_that(operation: str, polar: FakePolar, run: Run) -> None:
    polar.generate_customers(3)
    body = {"error": "Teapot", "detail": "no\x00tea \ud800 today"}
    polar.faults.add(Fault(kind="refused", status=418, operation=operation, body=body, times=None))
    ended = run()
    if operation == LIST:
        assert get_end(ended) == ("failed", "polar_error")
        texts = [ended.detail]
    else:
        assert get_end(ended) == ("partial", "customers_failed")
        texts = list(ended.failures.values_list("reason", flat=True))
    assert texts
    assert all("no\ufffdtea \ufffd today" in text for text in texts)


def test_token_never_shows_in_a_run(polar: FakePolar, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    polar.generate_customers(3)
    polar.revoke_token(polar.access_token)
    with caplog.at_level("DEBUG"):
        ended = run()
    assert ended.reason == "authentication"
    assert polar.access_token not in f"{vars(ended)}{caplog.text}"
