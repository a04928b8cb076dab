"""A customer's page when there is much to show, and how pages are titled."""

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from polar_sync.models import Benefit, Organization, SyncRun
from tests import factories
from tests.factories import (
    apply_states,
    at,
    build_grant,
    build_meter,
    build_state,
    build_subscription,
    create_delivery,
    make_id,
    read_at,
)

ROOT = "/admin/polar_sync"
LIST = f"{ROOT}/customer/"
pytestmark = pytest.mark.django_db


@pytest.fixture
def rich(organization: Organization) -> str:
    """The page of a customer with 87 grants, of which 23 are equal, 30 subscriptions and 5 meters."""
    for number in range(65):
        Benefit.objects.create(
            pk=factories.make_uuid(f"flag {number}"), organization=organization, name=f"flag-{number}"
        )
    equal = [build_grant(f"equal {number}", benefit_id=make_id("flag 64")) for number in range(23)]
    others = [build_grant(number, benefit_id=make_id(f"flag {number}")) for number in range(64)]
    state = build_state(
        "rich",
        grants=[*others, *equal],
        subscriptions=[build_subscription(number) for number in range(30)],
        meters=[build_meter(number) for number in range(5)],
    )
    apply_states(organization, state, interval=read_at(0))
    return f"{LIST}{make_id('rich')}/change/"


def read(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def read_summary(client: Client, url: str) -> str:
    return re.split("</?section", read(client, url))[1]


def test_summary_groups_equal_grants(viewer: Client, rich: str) -> None:
    summary = read_summary(viewer, rich)
    assert re.search(r"<bdi>flag-64</bdi> <span class=\"polar-times\">×&nbsp;23</span>", summary)
    assert re.findall("flag-[0-9]+", summary)[0] == "flag-64", "the most numerous come first"
    assert summary.count("polar-times") == 1


def test_much_is_cut_and_linked_to_all_of_it(viewer: Client, rich: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        page = read(viewer, rich)
    assert len(queries) <= 11
    for model, number in (("benefitgrant", 87), ("subscription", 30)):
        links = re.findall(f'<a href="({ROOT}/{model}/[?][^"]*)">All {number}</a>', page)
        assert len(links) == 2, "in the summary and below the table"
        assert f"{number} {model.replace('benefit', 'benefit ')}s" in read(viewer, links[0])
    assert page.count('<td class="field-benefit_name"') == 20
    assert page.count('<td class="field-meter_name"') == 5
    assert "All 5" not in page


def test_ids_are_whole_in_the_page(viewer: Client, rich: str) -> None:
    assert f'<code class="polar-id" title="{make_id("rich")}">{make_id("rich")}</code>' in read_summary(viewer, rich)


def test_headings_skip_no_level(operator: Client, rich: str) -> None:
    run = SyncRun.objects.create(organization=Organization.objects.get(), status="succeeded").pk
    pages = (rich, rich.replace("change", "history"), LIST, f"{ROOT}/syncrun/", f"{ROOT}/syncrun/{run}/change/")
    for page in pages:
        content = read(operator, page).split('id="content"')[1]
        levels = [int(level) for level in re.findall("<h([1-6])", content)]
        assert levels[0] == 1, page
        assert all(after - before <= 1 for before, after in pairwise(levels)), (page, levels)


def test_pages_are_titled_by_what_they_show(viewer: Client, rich: str) -> None:
    run = SyncRun.objects.create(organization=Organization.objects.get(), status="succeeded").pk
    assert f"<title>Run #{run} of default | " in read(viewer, f"{ROOT}/syncrun/{run}/change/")
    assert "<h1>Sync runs</h1>" in read(viewer, f"{ROOT}/syncrun/")
    assert re.search('<h1 class="polar-headline"><bdi>Ada rich</bdi>', read(viewer, rich))


def test_latest_deliveries_about_the_customer_are_shown(viewer: Client, organization: Organization, rich: str) -> None:
    for number in range(12):
        create_delivery(organization, "rich", type=f"type.{number}", timestamp=at(number), webhook_id=f"msg_{number}")
    create_delivery(organization, "another", type="type.other")
    with CaptureQueriesContext(connection) as queries:
        page = read(viewer, rich)
    asked = [query["sql"] for query in queries if "polar_sync_webhookdelivery" in query["sql"]]
    assert len(asked) == 1
    assert '"payload"' not in asked[0].split("WHERE")[0]
    assert len(queries) <= 11
    assert re.findall(r"<bdi>type\.<wbr>(\w+)</bdi>", page) == [str(number) for number in range(11, 1, -1)]
    (link,) = re.findall(f'<a href="({ROOT}/webhookdelivery/[?][^"]*)">All deliveries</a>', page)
    assert "12 webhook deliveries" in read(viewer, link)


def test_few_deliveries_have_no_link_to_more(viewer: Client, organization: Organization, rich: str) -> None:
    create_delivery(organization, "rich", status="failed", reason="<b>why</b>")
    page = read(viewer, rich)
    assert "&lt;b&gt;why&lt;/b&gt;" in page
    assert "All deliveries" not in page


def test_deliveries_are_shown_to_who_may_view_them(
    make_client: Callable[..., Client], organization: Organization, rich: str
) -> None:
    create_delivery(organization, "rich")
    with CaptureQueriesContext(connection) as queries:
        page = read(make_client("view_customer", is_viewer=False), rich)
    assert "polar-deliveries" not in page
    assert not [query["sql"] for query in queries if "polar_sync_webhookdelivery" in query["sql"]]
