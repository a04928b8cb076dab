"""Addresses that somebody made up: every list and every export answers them as Django's admin does, never with 500."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from polar_sync.admin.base import ReadOnlyAdmin
from polar_sync.admin.export import ExportAdminMixin
from polar_sync.models import Organization, SyncRun
from tests.factories import apply_states, build_full_state, read_at

LOOKUPS = (
    *("", "exact", "in", "isnull", "gt", "lte", "regex", "icontains", "year", "month", "day", "year__gte", "date"),
    *("time__gt", "nonsense", "pk", "id__exact", "0", "a__b", "contained_by"),
)
VALUES = (
    *("", "abc", "0", "-1", "1", "13", "9999", "10000", "9" * 30, "1e400", "nan", "null", "True", "1,2", "2024-02-30"),
    *("0001-01-01", "9999-12-31T23:59:59.999999-12:00", "0001-01-01T00:00:00+12:00", "\0", "((", "{}", '"\\u0000"'),
    *("ff" * 16, "\u202e", "%", "'\"><script>", "W" * 3000),
)
CONTROLS = (
    *("p", "o", "q", "all", "e", "_to_field", "_popup", "_facets", "_changelist_filters", "nonsense", "pk"),
    *("pk__regex", "organization__pk__regex", "customer__email__regex"),
)
DATES = (
    {"year": "abc"},
    {"year": "9999"},
    {"year": "9999", "month": "12"},
    {"year": "9999", "month": "12", "day": "31"},
    {"year": "1", "month": "1", "day": "1"},
    {"year": "10000"},
    {"year": "9" * 30},
    {"year": "2024", "month": "13"},
    {"year": "2024", "month": "2", "day": "30"},
    {"year": "\u0662\u0660\u0662\u0664", "month": "\u00b2"},
    {"month": "12"},
    {"day": "9" * 30},
    {"year": "\0"},
)
SAMPLE = 20
ADMINS = [found for found in admin.site._registry.values() if isinstance(found, ReadOnlyAdmin)]
DOORS = [
    *(("changelist", found, ()) for found in ADMINS),
    *(("export", found, (kind,)) for found in ADMINS if isinstance(found, ExportAdminMixin) for kind in found.exports),
]
pytestmark = pytest.mark.django_db


@pytest.fixture
def filled(organization: Organization, names: None) -> None:
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    SyncRun.objects.create(organization=organization)


def ask(client: Client, url: str, parameters: dict[str, str]) -> None:
    answer: Any = client.get(url, parameters)
    if answer.streaming:
        b"".join(answer.streaming_content)
    assert answer.status_code in {200, 302, 400}, parameters
    if answer.status_code == 302:
        assert answer["Location"].endswith("/?e=1"), parameters


def list_parameters(found: Any) -> Iterator[tuple[str, str]]:
    """Every parameter that a list could be given, with every value."""
    fields = [field.name for field in found.model._meta.get_fields()]
    filters = [one.parameter_name for one in found.list_filter if hasattr(one, "parameter_name")]
    lookups = ("__".join(filter(None, (field, lookup))) for field in fields for lookup in LOOKUPS)
    return ((name, value) for name in (*lookups, *CONTROLS, *filters) for value in VALUES)


@pytest.mark.parametrize(("door", "found", "arguments"), DOORS, ids=str)
def test_parameters_that_mean_nothing_are_answered(
    operator: Client, filled: None, door: str, found: Any, arguments: tuple[str, ...]
) -> None:
    url = reverse(f"admin:polar_sync_{found.opts.model_name}_{door}", args=arguments)
    for name, value in random.Random(url).sample(list(list_parameters(found)), SAMPLE):
        ask(operator, url, {name: value})


@pytest.mark.parametrize(
    "path", ["customer/", "customer/export/meters.csv", "subscription/", "meter/export/own_meters.csv"]
)
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_dates_that_no_calendar_has_are_answered(
    operator: Client, filled: None, settings: Any, path: str, zone: str
) -> None:
    settings.TIME_ZONE = zone
    for parts in DATES:
        ask(operator, f"/admin/polar_sync/{path}", {f"created_at__{name}": value for name, value in parts.items()})


@pytest.mark.parametrize("name", ["email__regex", "metadata__key", "payload__icontains", "pk__regex"])
def test_patterns_are_refused(operator: Client, filled: None, name: str) -> None:
    assert operator.get("/admin/polar_sync/customer/", {name: "(("}).status_code == 400
    assert operator.get("/admin/polar_sync/customer/export/customers.csv", {name: "(("}).status_code == 400


def test_columns_can_be_compared(operator: Client, filled: None) -> None:
    for name, value, number in (("email_verified__exact", "1", 1), ("created_at__lt", "2000-01-01 00:00Z", 0)):
        page = operator.get("/admin/polar_sync/customer/", {name: value}).content.decode()
        assert page.count('class="field-label"') == number, name
    assert operator.get("/admin/polar_sync/subscription/", {"status__in": "active,trialing"}).status_code == 200


def test_export_that_cannot_be_filtered_so_is_no_file_of_everything(operator: Client, filled: None) -> None:
    answer = operator.get("/admin/polar_sync/customer/export/customers.csv", {"created_at__year": "abc"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/polar_sync/customer/?e=1")
