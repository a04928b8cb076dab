"""Rows of a project that refer to mirrored ones: they stay while Polar has the object, and go as the project says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models
from django.db.models.signals import post_delete
from django.test.utils import modify_settings

from polar_sync.models import Customer, Organization, Subscription
from polar_sync.store.pruning import prune_customers
from tests.factories import (
    apply_absences,
    apply_states,
    at,
    build_full_state,
    build_state,
    create_organization,
    make_uuid,
    read_at,
)


@pytest.fixture
def shop(transactional_db: None) -> Iterator[Any]:
    """The application, installed and with its tables, for one test."""
    with modify_settings(INSTALLED_APPS={"append": "tests.models.shop"}):
        from tests.models.shop import models as shop  # noqa: PLC0415 - a model needs its application installed

        apps.clear_cache()  # who refers to whom is remembered from before
        tables: list[type[models.Model]] = [shop.Seat, shop.Invitation]
        with connection.schema_editor() as editor:
            for table in tables:
                editor.create_model(table)
        try:
            yield shop
        finally:
            with connection.schema_editor() as editor:
                for table in tables:
                    editor.delete_model(table)
    apps.clear_cache()


@pytest.fixture
def bought(shop: Any) -> Organization:
    """Two subscriptions with a seat each, two grants with an invitation each, of one customer."""
    organization = create_organization()
    apply_states(organization, build_full_state("a"), interval=read_at(0))
    for number in range(2):
        shop.Seat.objects.create(subscription_id=make_uuid(f"subscription a.{number}"), customer_id=make_uuid("a"))
        shop.Invitation.objects.create(grant_id=make_uuid(f"grant a.{number}"))
    return organization


def test_rows_stay_while_their_objects_change_and_move(shop: Any, bought: Organization) -> None:
    apply_states(bought, build_full_state("a", version=1), interval=read_at(1))
    moved = build_full_state("a", version=2) | {"id": str(make_uuid("b"))}
    apply_states(bought, moved, interval=read_at(2))
    assert {seat.subscription.customer_id for seat in shop.Seat.objects.all()} == {make_uuid("b")}
    assert shop.Invitation.objects.exclude(grant=None).count() == 2


def test_rows_go_as_the_project_says_when_their_objects_end(shop: Any, bought: Organization) -> None:
    apply_states(bought, build_full_state("a", children=1), interval=read_at(1))
    assert [seat.subscription_id for seat in shop.Seat.objects.all()] == [make_uuid("subscription a.0")]
    assert set(shop.Invitation.objects.values_list("grant", flat=True)) == {make_uuid("grant a.0"), None}


def test_row_of_a_deleted_customer_still_finds_it(shop: Any, bought: Organization) -> None:
    apply_states(bought, build_state("b"), interval=read_at(0))
    apply_states(bought, build_full_state("a") | {"id": str(make_uuid("b"))}, interval=read_at(1))
    apply_absences(bought, "a", interval=read_at(2))
    assert {seat.customer.deleted_at for seat in shop.Seat.objects.all()} == {at(2)}


def test_protected_customer_is_not_pruned_and_its_project_is_told(
    shop: Any, bought: Organization, settings: Any
) -> None:
    settings.POLAR_SYNC = {"DELETED_CUSTOMERS": "delete", "DELETED_CUSTOMERS_AFTER_DAYS": 0}
    apply_states(bought, build_full_state("a") | {"id": str(make_uuid("b"))}, interval=read_at(1))
    apply_absences(bought, "a", interval=read_at(2))
    with pytest.raises(models.ProtectedError, match="Seat"):
        prune_customers()
    assert Customer.all_objects.count() == 2


def test_project_hears_of_the_deletion_of_what_it_listens_to(organization: Organization) -> None:
    heard: list[Any] = []

    def listen(instance: Subscription, **arguments: Any) -> None:
        heard.append(instance.pk)

    apply_states(organization, build_full_state("a"), interval=read_at(0))
    post_delete.connect(listen, sender=Subscription)
    try:
        apply_states(organization, build_full_state("a", children=1), interval=read_at(1))
    finally:
        post_delete.disconnect(listen, sender=Subscription)
    assert heard == [make_uuid("subscription a.1")]
