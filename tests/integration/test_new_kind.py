"""A further kind of object: a model, Polar's list in the client, and an entry each among the kinds and the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test import override_settings

from polar_sync import sync
from polar_sync.client import ListPage, PolarClient
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, SyncRun
from polar_sync.models.tables import Table, get_tables
from polar_sync.payloads import values
from polar_sync.payloads.kinds import Kind, get_child_kinds
from polar_sync.rest import queries
from polar_sync.testing import FakePolar, FakePolarServer
from tests.factories import make_id, normalize_state
from tests.integration.widgets.models import Widget

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


WIDGET = Kind(
    "widget",
    "widget",
    {"created_at": values.read_timestamp, "modified_at": values.read_timestamp, "colour": values.read_label},
    array="present_widgets",
    trait="colour",
    operation="widgets",
    parameters={"is_broken": False},
    from_item=lambda item: {**item, "colour": item["paint"]["colour"]} if "paint" in item else item,
)


class Widgets:
    """Polar's list of them: items with more than a state tells, of which the whole ones are asked for."""

    def __init__(self, client: PolarClient, listed: list[dict[str, Any]]) -> None:
        self._client = client
        self._listed = listed

    def list(self, *, customer_id: Any, limit: int, is_broken: bool | None = None) -> ListPage:
        wanted = {str(each) for each in customer_id}
        items = [item for item in self._listed if item["customer_id"] in wanted and item["is_broken"] is is_broken]
        page = self._client.subscriptions.list(customer_id=customer_id, limit=1)
        assert len(items) <= limit
        return replace(page, items=items, total_count=len(items), max_page=1)


def build_item(name: str, customer_id: str, *, colour: str, is_broken: bool = False) -> dict[str, Any]:
    dates = {"created_at": "2025-01-01T00:00:00Z", "modified_at": None}
    more = {"customer_id": customer_id, "is_broken": is_broken, "paint": {"colour": colour}, "price": 5}
    return {"id": make_id(name), **dates, **more}


def show(item: dict[str, Any]) -> dict[str, Any]:
    """The object as a state has it."""
    return {name: item[name] for name in ("id", "created_at", "modified_at")} | {"colour": item["paint"]["colour"]}


@pytest.fixture
def table() -> Iterator[Table]:
    """The app is installed, and has its table. Django forgets by itself neither before nor after who is related."""
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "tests.integration.widgets"]):
        apps.clear_cache()
        with connection.schema_editor() as editor:
            editor.create_model(Widget)
        yield Table(WIDGET, Widget, "customer_id", "customer_id", "widgets")
        with connection.schema_editor() as editor:
            editor.delete_model(Widget)
    apps.clear_cache()


@pytest.fixture
def listed(table: Table, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Polar's list of them holds; the kind and its table are known."""
    items: list[dict[str, Any]] = []
    monkeypatch.setattr("polar_sync.payloads.kinds._CHILD_KINDS", (*get_child_kinds(), WIDGET))
    monkeypatch.setattr("polar_sync.models.tables._TABLES", (*get_tables(), table))
    monkeypatch.setattr(PolarClient, "widgets", property(lambda client: Widgets(client, items)), raising=False)
    monkeypatch.setattr(queries, "_compile", vars(queries)["_compile"].__wrapped__)
    return items


def put(polar: FakePolar, customer_id: str, items: list[dict[str, Any]], listed: list[dict[str, Any]]) -> None:
    """Give a customer these, in its state and on the list."""
    present = [show(item) for item in items if not item["is_broken"]]
    state = {name: value for name, value in polar.get_state(customer_id).items() if name != WIDGET.array}
    polar.replace_state(customer_id, {**state, WIDGET.array: present})
    del polar.get_record(customer_id).customer[WIDGET.array]  # the list of customers has no such array
    polar.get_record(customer_id).forget_bodies()
    listed[:] = [item for item in listed if item["customer_id"] != customer_id] + items


def run(source: str) -> SyncRun:
    organization = polar_settings.get_organization("default")
    wanted = {**settings.POLAR_SYNC, "STATE_SOURCE": source}
    with override_settings(POLAR_SYNC=wanted), sync.connect(organization) as opened:
        return sync.work_in_foreground(sync.begin_run(organization), opened)


@pytest.mark.parametrize("source", ["per_customer", "auto"])
def test_new_kind_is_fetched_assembled_stored_and_given_back(
    polar_server: FakePolarServer, listed: list[dict[str, Any]], source: str
) -> None:
    polar = polar_server.polar
    polar.generate_customers(30, seed=4)
    for number, customer_id in enumerate(polar.customers):
        items = [build_item(f"{number}.{each}", customer_id, colour=["red", "blue"][each % 2]) for each in range(3)]
        broken = build_item(f"{number} broken", customer_id, colour="grey", is_broken=True)
        put(polar, customer_id, [*items[: number % 3], broken], listed)
    ended = run(source)
    assert (ended.status, ended.source) == ("succeeded", "batched" if source == "auto" else source)
    check(polar)
    assert set(Widget._default_manager.values_list("colour", flat=True)) == {"red", "blue"}

    changed, emptied = polar.customers[2], polar.customers[5]
    put(polar, changed, [build_item("new", changed, colour="green")], listed)
    put(polar, emptied, [], listed)
    polar.clock_offset += timedelta(hours=2)
    ended = run(source)
    assert (ended.status, ended.updated) == ("succeeded", 2)
    check(polar)
    assert Widget._default_manager.get(customer=changed).colour == "green"
    assert not Widget._default_manager.filter(customer=emptied).exists()


def check(polar: FakePolar) -> None:
    """What is mirrored is what Polar says, by the model and by the one statement of REST."""
    mirrored = {str(each.pk): normalize_state(each.state()) for each in Customer.objects.with_state()}
    for customer_id in polar.customers:
        told = polar.get_state(customer_id)
        assert WIDGET.array in told
        assert mirrored[customer_id] == normalize_state(told)
        loaded = queries.load_state(UUID(customer_id))
        assert loaded is not None
        assert normalize_state(loaded) == normalize_state(told)
