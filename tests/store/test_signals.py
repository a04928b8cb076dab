from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from polar_sync.models import Customer, Organization
from polar_sync.payloads import load_canonical
from polar_sync.signals import customer_changed
from polar_sync.store import ChangeKind
from tests.factories import (
    apply_absences,
    apply_customers,
    apply_states,
    build_customer,
    build_full_state,
    build_state,
    make_uuid,
    read_at,
)

Commit = Callable[..., Any]


@contextmanager
def connected(receiver: Callable[..., Any]) -> Iterator[None]:
    customer_changed.connect(receiver, weak=False)
    try:
        yield
    finally:
        customer_changed.disconnect(receiver)


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    sent: list[dict[str, Any]] = []

    def listen(**arguments: Any) -> None:
        sent.append(arguments)

    with connected(listen):
        yield sent


def test_nothing_is_sent_before_the_commit(
    organization: Organization, heard: list[dict[str, Any]], django_capture_on_commit_callbacks: Commit
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        apply_states(organization, build_full_state("a"), interval=read_at(0))
        assert not heard
    assert len(heard) == 1


def test_nothing_is_sent_of_what_was_rolled_back(
    organization: Organization, heard: list[dict[str, Any]], django_capture_on_commit_callbacks: Commit
) -> None:
    with django_capture_on_commit_callbacks(execute=True) as callbacks, transaction.atomic():
        apply_states(organization, build_full_state("a"), interval=read_at(0))
        transaction.set_rollback(True)
    assert not callbacks
    assert not heard


def test_each_changed_customer_is_sent_once_with_all_its_changes(
    organization: Organization, heard: list[dict[str, Any]], django_capture_on_commit_callbacks: Commit
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        apply_states(organization, build_full_state("a"), build_full_state("b"), interval=read_at(0))
    assert {one["customer_id"] for one in heard} == {make_uuid("a"), make_uuid("b")}
    assert len(heard) == 2
    for one in heard:
        assert one["sender"] is Customer
        assert one["organization"] == organization
        assert {change.customer_id for change in one["changes"]} == {one["customer_id"]}
        assert [change.model for change in one["changes"]].count("customer") == 1
        assert len(one["changes"]) == 9


def test_nothing_is_sent_where_nothing_changed(
    organization: Organization, heard: list[dict[str, Any]], django_capture_on_commit_callbacks: Commit
) -> None:
    apply_states(organization, build_full_state("a"), interval=read_at(5))
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        apply_states(organization, build_full_state("a"), interval=read_at(6))
        apply_states(organization, build_full_state("a", version=3), interval=read_at(4))
    assert not callbacks


def get_changes(one: dict[str, Any]) -> set[tuple[ChangeKind, str, UUID]]:
    return {(change.kind, change.model, change.id) for change in one["changes"]}


def test_customer_that_loses_a_child_to_another_is_sent_too(
    organization: Organization, heard: list[dict[str, Any]], django_capture_on_commit_callbacks: Commit
) -> None:
    state = build_full_state("a", children=1)
    apply_states(organization, state, build_state("b"), interval=read_at(0))
    moved = {**build_state("b"), "granted_benefits": state["granted_benefits"]}
    with django_capture_on_commit_callbacks(execute=True):
        apply_states(organization, moved, interval=read_at(1))
    grant = make_uuid("grant a.0")
    assert {one["customer_id"]: get_changes(one) for one in heard} == {
        make_uuid("a"): {(ChangeKind.REMOVED, "benefit_grant", grant)},
        make_uuid("b"): {(ChangeKind.MOVED, "benefit_grant", grant)},
    }


def test_changes_tell_before_and_after(
    organization: Organization, heard: list[dict[str, Any]], django_capture_on_commit_callbacks: Commit
) -> None:
    apply_states(organization, build_full_state("a", version=1, children=1), interval=read_at(0))
    with django_capture_on_commit_callbacks(execute=True):
        apply_states(organization, build_full_state("a", version=2, children=1), interval=read_at(1))
    changes = {change.model: change for change in heard[0]["changes"]}
    assert {change.kind for change in changes.values()} == {ChangeKind.UPDATED}
    for model, key in (("customer", "metadata"), ("subscription", "amount"), ("meter", "balance")):
        change = changes[model]
        versions = [load_canonical(text)[key] for text in (change.before, change.after)]
        assert versions in ([1, 2], [{"version": 1}, {"version": 2}])


def test_deletion_tells_of_the_customer_and_of_what_it_lost(
    organization: Organization, heard: list[dict[str, Any]], django_capture_on_commit_callbacks: Commit
) -> None:
    apply_states(organization, build_full_state("a", children=1), interval=read_at(0))
    with django_capture_on_commit_callbacks(execute=True):
        apply_absences(organization, "a", interval=read_at(1))
    [one] = heard
    removed = {model for kind, model, _ in get_changes(one) if kind == ChangeKind.REMOVED}
    assert removed == {"subscription", "subscription_meter", "benefit_grant", "meter"}
    assert (ChangeKind.UPDATED, "customer", make_uuid("a")) in get_changes(one)


def test_receiver_that_raises_stops_nobody_and_is_logged(
    organization: Organization,
    heard: list[dict[str, Any]],
    django_capture_on_commit_callbacks: Commit,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(**arguments: Any) -> None:
        raise LookupError("out of order")

    heard_after: list[Any] = []

    def listen_after(**arguments: Any) -> None:
        heard_after.append(arguments)

    with (
        connected(fail),
        connected(listen_after),
        caplog.at_level(logging.ERROR),
        django_capture_on_commit_callbacks(execute=True),
    ):
        apply_customers(organization, *[build_customer(name) for name in "abc"], interval=read_at(0))
    assert heard_after == heard
    assert len(heard) == 3
    assert len(caplog.records) == 3, "one for each customer"
    for record in caplog.records:
        assert "fail" in record.getMessage()
        assert record.exc_info is not None
