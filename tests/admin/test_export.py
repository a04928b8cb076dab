"""The files that staff can take out."""

import csv
import io
import re
from typing import Any

import pytest
from django.test import Client

from polar_sync.models import Customer, Organization, Product
from tests.factories import apply_states, build_full_state, build_state, make_id, read_at

LIST = "/admin/polar_sync/customer/"
pytestmark = pytest.mark.django_db


def read_rows(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200
    assert answer.streaming
    text = b"".join(answer.streaming_content).decode()
    assert "\r\n" in text
    return list(csv.DictReader(io.StringIO(text)))


def test_filtered_customers_are_exported(operator: Client, organization: Organization, names: None) -> None:
    apply_states(organization, build_full_state("one"), build_state("two"), interval=read_at(0))
    assert f"{LIST}export/customers.csv?active=yes" in operator.get(f"{LIST}?active=yes").content.decode()
    rows = read_rows(operator.get(f"{LIST}export/customers.csv?active=yes"))
    assert [row["external_id"] for row in rows] == ["usr_one"]
    assert (rows[0]["country"], rows[0]["email_verified"], rows[0]["organization"]) == ("FR", "true", "default")
    assert len(read_rows(operator.get(f"{LIST}export/customers.csv"))) == 2


@pytest.mark.parametrize(("model", "number"), [("customer", 3), ("subscription", 1), ("meter", 1)])
def test_a_list_has_one_menu_of_its_files(
    operator: Client, organization: Organization, model: str, number: int
) -> None:
    page = operator.get(f"/admin/polar_sync/{model}/").content.decode()
    (menu,) = re.findall('<details class="polar-menu[^>]*>(.*?)</details>', page, re.DOTALL)
    assert re.search("<summary[^>]*>Export</summary>", menu)
    assert len(re.findall('<a href="[^"]*/export/[a-z_]+.csv">', menu)) == number


@pytest.mark.parametrize(("kind", "name"), [("subscriptions", "Pro, monthly"), ("meters", "API requests")])
def test_what_customers_have_is_exported(
    operator: Client, organization: Organization, names: None, kind: str, name: str
) -> None:
    apply_states(organization, build_full_state("one", children=3), build_full_state("two"), interval=read_at(0))
    rows = read_rows(operator.get(f"{LIST}export/{kind}.csv?q=usr_one"))
    assert len(rows) == 3
    assert {row[kind.removesuffix("s") if kind == "meters" else "product"] for row in rows} == {name}
    assert {row["customer_id"] for row in rows} == {make_id("one")}


@pytest.mark.parametrize("kind", ["customers", "subscriptions", "meters"])
def test_selected_customers_are_exported(operator: Client, organization: Organization, kind: str) -> None:
    apply_states(organization, build_full_state("one"), build_full_state("two"), interval=read_at(0))
    chosen = {"action": f"export_{kind}", "_selected_action": [make_id("two")]}
    rows = read_rows(operator.post(LIST, chosen))
    assert {row.get("customer_id", row["id"]) for row in rows} == {make_id("two")}
    everybody = chosen | {"select_across": "1"}
    assert len(read_rows(operator.post(LIST, everybody))) == 2 * len(rows)


@pytest.mark.parametrize(("model", "kind"), [("subscription", "own_subscriptions"), ("meter", "own_meters")])
def test_lists_of_children_export_themselves(
    operator: Client, organization: Organization, model: str, kind: str
) -> None:
    apply_states(organization, build_full_state("one"), build_full_state("two"), interval=read_at(0))
    rows = read_rows(operator.get(f"/admin/polar_sync/{model}/export/{kind}.csv?q=usr_two"))
    assert {row["customer_id"] for row in rows} == {make_id("two")}
    chosen = {"action": "export_selected", "_selected_action": [rows[0]["id"]]}
    assert read_rows(operator.post(f"/admin/polar_sync/{model}/", chosen)) == rows[:1]


@pytest.mark.parametrize("sign", [*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20"])
def test_formulas_are_text_in_the_file(operator: Client, organization: Organization, sign: str) -> None:
    apply_states(organization, build_state("one", name=f"{sign}1"), interval=read_at(0))
    assert read_rows(operator.get(f"{LIST}export/customers.csv"))[0]["name"] == f"'{sign}1"


def test_interval_counts_are_in_the_file(operator: Client, organization: Organization, names: None) -> None:
    Product.objects.update(recurring_interval_count=3)
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    (row,) = read_rows(operator.get("/admin/polar_sync/subscription/export/own_subscriptions.csv"))[:1]
    assert (row["recurring_interval"], row["recurring_interval_count"]) == ("month", "3")


def test_numbers_below_zero_stay_numbers(operator: Client, organization: Organization) -> None:
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    assert read_rows(operator.get(f"{LIST}export/meters.csv"))[0]["balance"] == "0.0"
    assert Customer.objects.get().meters.update(balance=-2.5) == 2
    assert {row["balance"] for row in read_rows(operator.get(f"{LIST}export/meters.csv"))} == {"-2.5"}


def test_unknown_kinds_are_not_found(operator: Client) -> None:
    assert operator.get(f"{LIST}export/users.csv").status_code == 404
