"""The list of customers and a customer's page."""

import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from polar_sync.admin.figures import compute_figures
from polar_sync.models import Customer, CustomerObservation, Organization, Product
from polar_sync.payloads import Interval
from polar_sync.store import apply, observe_state
from tests import factories
from tests.factories import apply_absences, apply_states, build_full_state, build_state, make_id, make_uuid, read_at

LIST = "/admin/polar_sync/customer/"
pytestmark = pytest.mark.django_db


def read(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, f"{answer.status_code} {answer.get('Location', '')}"
    return answer.content.decode()


def page_of(name: object) -> str:
    return f"{LIST}{make_id(name)}/change/"


def list_names(client: Client, query: str = "") -> set[str]:
    """The customers that the list shows, by the links to their pages."""
    names = re.findall(
        r'<th class="field-label"><a href="[^"]*">.*?<bdi[^>]*>([^<]*)</bdi>', read(client, LIST + query)
    )
    return {name.removeprefix("Ada ") for name in names}


def test_list_shows_names_and_labels_instead_of_ids(viewer: Client, organization: Organization, names: None) -> None:
    apply_states(organization, build_full_state("one", children=3), interval=read_at(0))
    page = read(viewer, LIST)
    assert "<bdi>Pro, monthly</bdi>" in page
    assert '<span class="polar-label polar-good">Active</span>' in page
    assert '<td class="field-grants"><bdi dir="ltr">3</bdi></td>' in page
    assert "polar-verified" in page
    assert make_id("product") not in page.split('id="changelist-filter"')[0]


def test_id_stands_where_the_name_is_not_known(viewer: Client, organization: Organization) -> None:
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    assert f">{make_id('product')}</code>" in read(viewer, LIST)
    page = read(viewer, page_of("one"))
    assert f">{make_id('benefit')}</code>" in page
    assert f">{make_id('meter')}</code>" in page


@pytest.mark.parametrize("number", [3, 40])
def test_pages_ask_few_questions_however_many_rows(
    viewer: Client, organization: Organization, names: None, number: int
) -> None:
    apply_states(
        organization, *(build_full_state(one, children=number // 3) for one in range(number)), interval=read_at(0)
    )
    for url in (LIST, f"{LIST}?q=ada", f"{LIST}?active=yes&country=FR", page_of(0)):
        with CaptureQueriesContext(connection) as queries:
            read(viewer, url)
        assert len(queries) <= (11 if url == page_of(0) else 10), [query["sql"][:150] for query in queries]


def test_search_finds_by_words_and_by_every_id(viewer: Client, organization: Organization) -> None:
    apply_states(
        organization, build_full_state("one"), build_state("two", email="grace@navy.example"), interval=read_at(0)
    )
    assert list_names(viewer) == {"one", "two"}
    for text in ("usr_one", "ADA one", "one@example", make_id("one"), make_id("subscription one.0")):
        assert list_names(viewer, f"?q={text}") == {"one"}, text
    for name in ("grant one.1", "meter one.0", "subscription meter one.0", "product", "benefit", "meter", "price"):
        assert list_names(viewer, f"?q={make_id(name)}") == {"one"}, name
    assert list_names(viewer, "?q=navy") == {"two"}
    assert list_names(viewer, f"?q={make_id('nobody')}") == set()
    assert list_names(viewer, "?q=%25") == set()


def test_search_finds_an_id_wherever_it_occurs(viewer: Client, organization: Organization) -> None:
    one = build_full_state("one") | {"default_payment_method_id": make_id("card")}
    one["active_subscriptions"][0]["discount_id"] = make_id("discount")
    two = build_state("two", external_id=make_id("product"))
    apply_states(organization, one, two, build_state("three"), interval=read_at(0))
    assert list_names(viewer, f"?q={make_id('card')}") == {"one"}
    assert list_names(viewer, f"?q={make_id('discount')}") == {"one"}
    assert list_names(viewer, f"?q={make_id('product')}") == {"one", "two"}, "one refers to it, the other is called so"
    assert list_names(viewer, f"?q={organization.polar_id}") == {"one", "two", "three"}
    for model in ("subscription", "benefitgrant", "meter"):
        for name in ("product", "card"):
            assert page_of("one") in read(viewer, f"/admin/polar_sync/{model}/?q={make_id(name)}")
        assert page_of("one") not in read(viewer, f"/admin/polar_sync/{model}/?q={make_id('nobody')}")


def test_organization_is_a_column_only_where_there_are_several(viewer: Client, organization: Organization) -> None:
    apply_states(organization, build_state("one"), interval=read_at(0))
    assert "organization_name" not in read(viewer, LIST)
    assert "By organization" not in read(viewer, LIST)
    factories.create_organization("other", polar_id=make_uuid("other organization"))
    assert '<td class="field-organization_name"><bdi>default</bdi></td>' in read(viewer, LIST)
    assert "By organization" in read(viewer, LIST)


def test_address_stands_below_the_name(viewer: Client, organization: Organization) -> None:
    apply_states(organization, build_state("one", type="team"), interval=read_at(0))
    cell = re.findall('<th class="field-label">(.*?)</th>', read(viewer, LIST))[0]
    texts = [text for text in re.findall(">([^<]+)<", cell) if text.strip()]
    assert texts == ["Ada one", "Team", "one@example.com", "✓", "verified"]


def test_filters_narrow_the_list(viewer: Client, organization: Organization, names: None) -> None:
    full = build_full_state("full") | {"type": "team", "billing_address": {"country": "DE"}}
    full["active_subscriptions"][0]["status"] = "trialing"
    apply_states(organization, full, build_state("bare"), build_state("gone"), interval=read_at(0))
    apply_absences(organization, "gone", interval=read_at(1))
    CustomerObservation.objects.filter(customer=make_uuid("full")).update(state_observed_at=timezone.now())
    other = factories.create_organization("other", polar_id=make_uuid("other organization"))
    elsewhere = build_state("elsewhere", organization_id=str(other.polar_id))
    apply_states(other, elsewhere, interval=read_at(0))
    cases = {
        "active=yes": {"full"},
        "active=no": {"bare", "gone", "elsewhere"},
        "status=trialing": {"full"},
        "status=canceled": set(),
        f"product={make_id('product')}": {"full"},
        "product=nonsense": set(),
        "benefit_type=custom": {"full"},
        "type=team": {"full"},
        "type=other": set(),
        "country=de": {"full"},
        "country=%00": {"full", "bare", "gone", "elsewhere"},
        "deleted=yes": {"gone"},
        "deleted=no": {"full", "bare", "elsewhere"},
        "observed=fresh": {"full"},
        "observed=stale": {"bare", "elsewhere"},
        f"organization={other.polar_id}": {"elsewhere"},
        "created_at__year=2025&created_at__month=1&created_at__day=1": {"full", "bare", "gone", "elsewhere"},
        "created_at__year=2024": set(),
        "status=%00x": set(),
    }
    found = {query: list_names(viewer, f"?{query}") for query in cases}
    assert found == cases


def test_dates_lead_from_years_to_days(viewer: Client, organization: Organization) -> None:
    apply_states(
        organization, build_state("old", created_at="0001-01-01T00:00:00Z"), build_state("new"), interval=read_at(0)
    )
    page = read(viewer, LIST)
    assert 'created_at__year=2025">2025<' in page
    assert page.count("created_at__year=") <= 25
    assert "created_at__month=12" in read(viewer, f"{LIST}?created_at__year=2025")
    assert "created_at__day=29" not in read(viewer, f"{LIST}?created_at__year=2025&created_at__month=2")


def test_page_answers_what_the_customer_has(viewer: Client, organization: Organization, names: None) -> None:
    user = User.objects.create_user("ada")
    state = build_full_state("one") | {"external_id": str(user.pk)}
    state["active_meters"] = [factories.build_meter("low", consumed_units=15, credited_units=5, balance=-10)]
    apply_states(organization, state, interval=read_at(0))
    Organization.objects.update(server="sandbox")
    page = read(viewer, page_of("one"))
    assert f"https://sandbox.polar.sh/to/dashboard/customers/{make_id('one')}" in page
    assert '<span class="polar-label polar-bad"><bdi dir="ltr">-10</bdi></span>' in page
    assert "Handbook" in page
    assert "Pro, monthly" in page
    assert "API requests" in page
    assert "&quot;active_subscriptions&quot;" in page
    assert '<input type="submit"' not in page


def test_prices_tell_how_many_intervals_they_are_for(viewer: Client, organization: Organization, names: None) -> None:
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    places = (page_of("one"), "/admin/polar_sync/subscription/")
    for url in places:
        assert "0.00 USD per month</bdi>" in read(viewer, url)
    Product.objects.update(recurring_interval="month", recurring_interval_count=3)
    for url in places:
        assert "0.00 USD every 3 months</bdi>" in read(viewer, url)
    assert '<td class="field-detail"><bdi>Every 3 months</bdi></td>' in read(viewer, "/admin/polar_sync/product/")


def test_balances_that_are_shown_as_zero_are_not_below_it(viewer: Client, organization: Organization) -> None:
    balances = {"none": -1e-9, "some": -0.006}
    apply_states(
        organization,
        *(build_state(key, meters=[factories.build_meter(key, balance=number)]) for key, number in balances.items()),
        interval=read_at(0),
    )
    meters = "/admin/polar_sync/meter/"
    assert "polar-bad" not in read(viewer, page_of("none"))
    assert '<span class="polar-label polar-bad"><bdi dir="ltr">-0.01</bdi></span>' in read(viewer, page_of("some"))
    for query, name in (("below", "some"), ("other", "none")):
        assert re.findall(r"one|none|some", read(viewer, f"{meters}?balance={query}").split("result_list")[1]) == [name]
    assert compute_figures().below_zero == 1


def test_linked_user_is_shown_to_those_who_may_view_users(
    admin_client: Client, viewer: Client, organization: Organization
) -> None:
    user = User.objects.create_user("linked-user")
    apply_states(organization, build_state("one", external_id=str(user.pk)), interval=read_at(0))
    apply_states(organization, build_state("two", external_id=f"0{user.pk}"), interval=read_at(0))
    assert f'<a href="/admin/auth/user/{user.pk}/change/"><bdi>linked-user</bdi></a>' in read(
        admin_client, page_of("one")
    )
    assert "linked-user" not in read(viewer, page_of("one"))
    assert "linked-user" not in read(admin_client, page_of("two"))


@pytest.mark.parametrize("external_id", ["usr_1", "9" * 400, "-1", "\0", "1e3", None, ""])
def test_external_ids_that_no_user_can_have_do_no_harm(
    viewer: Client, organization: Organization, external_id: str | None
) -> None:
    apply_states(organization, build_state("one", external_id=external_id), interval=read_at(0))
    read(viewer, page_of("one"))


def test_state_is_shown_and_given_as_polar_says_it(viewer: Client, organization: Organization) -> None:
    state = build_full_state("one") | {"metadata": {"far": 1e308, "text": "\0\ud800\u202e"}}
    apply_states(organization, state, interval=read_at(0))
    answer = viewer.get(f"{LIST}{make_id('one')}/state.json")
    assert json.loads(answer.content) == Customer.objects.get().state()
    assert "attachment" in answer["Content-Disposition"]
    assert "\\u202e" in answer.content.decode()


def test_page_says_when_and_how_it_was_observed(viewer: Client, organization: Organization) -> None:
    now = timezone.now()
    apply([observe_state(build_state("one"), interval=Interval.at(now))], organization=organization, run_id=7)
    page = read(viewer, page_of("one"))
    assert "/admin/polar_sync/syncrun/7/change/" in page
    apply_states(organization, build_state("two"), interval=Interval.at(now - timedelta(days=3)))
    assert "asked for on its own" in read(viewer, page_of("two"))
    assert re.search(r'polar-warn">\s*<time', read(viewer, page_of("two")))


def test_deleted_customer_is_marked(viewer: Client, organization: Organization) -> None:
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    apply_absences(organization, "one", interval=read_at(1))
    assert "deleted on Polar" in read(viewer, page_of("one"))
    assert '<span class="polar-label polar-bad">Deleted</span>' in read(viewer, LIST)


@pytest.mark.parametrize("path", ["add/", "{id}/delete/"])
def test_nothing_can_be_added_or_deleted(admin_client: Client, organization: Organization, path: str) -> None:
    apply_states(organization, build_state("one"), interval=read_at(0))
    assert admin_client.get(LIST + path.format(id=make_id("one"))).status_code == 403
    assert admin_client.post(page_of("one"), {"name": "changed"}).status_code == 403
    assert Customer.objects.get().name == "Ada one"


def test_unknown_and_malformed_ids_lead_back(viewer: Client) -> None:
    for name in (make_id("nobody"), "nonsense"):
        assert viewer.get(f"{LIST}{name}/change/").status_code == 302


@pytest.mark.parametrize("order", ["1", "-1", "5", "6", "-6", "1.-6", "99", "4", "x"])
def test_list_can_be_sorted(viewer: Client, organization: Organization, order: str) -> None:
    apply_states(organization, build_state("one"), build_state("two"), interval=read_at(0))
    assert list_names(viewer, f"?o={order}") == {"one", "two"}


def test_columns_sort_before_the_key_in_their_direction(operator: Client, organization: Organization) -> None:
    names = {"a": "Ada", "b": "Bob", "c": "Ada"}
    apply_states(organization, *(build_state(key, name=name) for key, name in names.items()), interval=read_at(0))
    rows = sorted((name, make_id(key)) for key, name in names.items())
    for order, expected in (("1", rows), ("-1", rows[::-1]), ("1.-7", rows)):
        found = re.findall(rf'<th class="field-label"><a href="{LIST}([^/]*)/', read(operator, f"{LIST}?o={order}"))
        assert found == [key for _name, key in expected], order


def test_other_lists_show_names_and_lead_to_the_customer(
    make_client: Callable[..., Client], organization: Organization, names: None
) -> None:
    client = make_client()
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    for model, title in (("subscription", "Pro, monthly"), ("benefitgrant", "Handbook"), ("meter", "API requests")):
        page = read(client, f"/admin/polar_sync/{model}/?q=one@example")
        assert title in page
        assert page_of("one") in page
        assert page_of("one") not in read(client, f"/admin/polar_sync/{model}/?q=nobody")
    for model in ("product", "benefit", "meterdefinition", "organization"):
        read(
            client,
            f"/admin/polar_sync/{model}/?q=pro" if model != "organization" else "/admin/polar_sync/organization/",
        )
