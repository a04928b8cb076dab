"""One customer on demand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import (
    AuthenticationError,
    NotFoundError,
    OrganizationMismatchError,
    PayloadError,
    RouteNotFoundError,
)
from polar_sync.models import Customer
from polar_sync.store import Outcome
from polar_sync.sync import Connection
from polar_sync.testing import FakePolar, Fault
from tests.sync.conftest import Run, change_organization
from tests.sync.socketless import read_mirror, read_polar

pytestmark = pytest.mark.django_db


@pytest.fixture
def opened(polar: FakePolar) -> Iterator[Connection]:
    with sync.connect(polar_settings.get_organization("default")) as opened:
        yield opened


def refresh(opened: Connection, customer_id: str) -> Outcome:
    return sync.refresh_customer(polar_settings.get_organization("default"), UUID(customer_id), opened)


def refresh_external(opened: Connection, external_id: str) -> list[Outcome]:
    return sync.refresh_external(polar_settings.get_organization("default"), external_id, opened)


def test_unknown_customer_is_created_and_a_known_one_brought_up_to_date(polar: FakePolar, opened: Connection) -> None:
    polar.generate_customers(3)
    customer_id = polar.customers[1]
    assert refresh(opened, customer_id) == Outcome.CREATED
    assert read_mirror() == {customer_id: read_polar(polar)[customer_id]}
    polar.clock_offset += timedelta(seconds=10)
    assert refresh(opened, customer_id) == Outcome.UNCHANGED
    polar.update_customer(customer_id, name="Ada")
    polar.clock_offset += timedelta(seconds=10)
    assert refresh(opened, customer_id) == Outcome.UPDATED
    assert read_mirror() == {customer_id: read_polar(polar)[customer_id]}
    assert polar.counts == {"customers:get_state": 3}


def test_deleted_customer_is_marked_once(polar: FakePolar, run: Run) -> None:
    polar.generate_customers(3)
    run()
    gone = polar.customers[0]
    polar.delete_customer(gone)
    polar.clock_offset += timedelta(seconds=10)
    with sync.connect(polar_settings.get_organization("default")) as opened:
        assert refresh(opened, gone) == Outcome.DELETED
        assert refresh(opened, gone) == Outcome.UNCHANGED
    assert read_mirror() == read_polar(polar)


def test_customer_that_neither_knows_is_an_error(polar: FakePolar, opened: Connection) -> None:
    with pytest.raises(NotFoundError):
        refresh(opened, str(uuid4()))
    with pytest.raises(NotFoundError):
        refresh_external(opened, "nobody")
    assert not Customer.all_objects.exists()


def test_external_id_finds_whoever_has_it_now(polar: FakePolar, opened: Connection) -> None:
    polar.create_customer(external_id="usr 1337?", name="Ada")
    assert refresh_external(opened, "usr 1337?") == [Outcome.CREATED]
    assert Customer.objects.with_external_id("usr 1337?").get().name == "Ada"


def test_external_id_that_is_gone_refreshes_those_mirrored_with_it(polar: FakePolar, run: Run) -> None:
    polar.create_customer()
    gone = polar.create_customer(external_id="usr_1337")["id"]
    run()
    polar.delete_customer(gone)
    polar.clock_offset += timedelta(seconds=10)
    with sync.connect(polar_settings.get_organization("default")) as opened:
        assert refresh_external(opened, "usr_1337") == [Outcome.DELETED]
    assert not Customer.objects.with_external_id("usr_1337").exists()


@pytest.mark.parametrize(("kind", "error"), [("bare_404", RouteNotFoundError), ("unauthorized", AuthenticationError)])
def test_no_other_answer_marks_anybody(kind: str, error: type[Exception], polar: FakePolar, run: Run) -> None:
    polar.generate_customers(3)
    run()
    polar.delete_customer(polar.customers[0])
    customer_id = str(Customer.objects.exclude(pk__in=polar.customers).get().pk)
    polar.faults.add(Fault(kind=kind, operation="customers:get_state", times=None))  # type: ignore[arg-type]
    with sync.connect(polar_settings.get_organization("default")) as opened, pytest.raises(error):
        refresh(opened, customer_id)
    assert Customer.objects.count() == 3


@pytest.mark.parametrize("customers", [0, 3])
def test_token_of_another_organization_marks_nobody(
    customers: int, polar: FakePolar, run: Run, settings: Settings
) -> None:
    """To that token every customer of ours is unknown."""
    polar.generate_customers(3)
    run()
    other = polar.add_organization(customers=customers, seed=9)
    change_organization(settings, ACCESS_TOKEN=other.access_token)
    polar.clock_offset += timedelta(seconds=10)
    with (
        sync.connect(polar_settings.get_organization("default")) as opened,
        pytest.raises(OrganizationMismatchError),
    ):
        refresh(opened, polar.customers[0])
    assert Customer.objects.count() == 3


def test_customer_of_another_organization_is_not_written(polar: FakePolar, run: Run, settings: Settings) -> None:
    polar.generate_customers(3)
    run()
    other = polar.add_organization(customers=3, seed=9)
    change_organization(settings, ACCESS_TOKEN=other.access_token)
    with (
        sync.connect(polar_settings.get_organization("default")) as opened,
        pytest.raises(OrganizationMismatchError),
    ):
        refresh(opened, other.customers[0])
    assert Customer.objects.count() == 3


def test_answer_that_is_no_customer_is_an_error(polar: FakePolar, opened: Connection) -> None:
    customer_id = polar.create_customer()["id"]
    state = {**polar.get_state(customer_id), "id": None}
    polar.faults.add(Fault(kind="malformed", operation="customers:get_state", body=state))
    with pytest.raises(PayloadError):
        refresh(opened, customer_id)


def test_state_of_another_customer_is_an_error_and_written_for_nobody(polar: FakePolar, opened: Connection) -> None:
    asked, other = (polar.create_customer()["id"] for _ in range(2))
    polar.faults.add(Fault(kind="malformed", operation="customers:get_state", body=polar.get_state(other)))
    with pytest.raises(PayloadError, match=f"the state of another customer, {other}"):
        refresh(opened, asked)
    assert not Customer.objects.exists()
