"""What staff can do from the admin, and that only those who may can do it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.core.management import call_command
from django.test import Client

from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, Organization, SyncFailure, SyncRun
from polar_sync.sync import begin_run
from polar_sync.testing.faults import Fault
from polar_sync.testing.server import FakePolarServer
from tests import factories
from tests.admin.broker import use_broker

ROOT = "/admin/polar_sync"
pytestmark = pytest.mark.django_db(transaction=True)


def tell(answer: Any) -> list[str]:
    """The messages that an answer leaves for the next page."""
    return [str(message) for message in get_messages(answer.wsgi_request)]


@pytest.fixture
def mirrored(polar_server: FakePolarServer) -> FakePolarServer:
    polar_server.polar.generate_customers(12, seed=1)
    call_command("polar_sync")
    return polar_server


def get_customer() -> Customer:
    customer: Customer = Customer.objects.order_by("created_at", "pk")[0]
    return customer


def list_doors() -> list[str]:
    run, organization = SyncRun.objects.latest("pk"), Organization.objects.get()
    return [
        f"{ROOT}/customer/{get_customer().pk}/refresh/",
        f"{ROOT}/organization/{organization.pk}/sync/",
        *(f"{ROOT}/syncrun/{run.pk}/{verb}/" for verb in ("resume", "cancel", "retry")),
    ]


def test_viewer_meets_403_on_every_door_and_sees_no_button(mirrored: FakePolarServer, viewer: Client) -> None:
    mirrored.polar.reset_counts()
    for url in list_doors():
        assert viewer.post(url).status_code == 403, url
        assert viewer.get(url).status_code == 403, url
    assert viewer.get(f"{ROOT}/customer/export/customers.csv").status_code == 403
    run, organization, customer = SyncRun.objects.get(), Organization.objects.get(), get_customer()
    pages = ("/", "/customer/", f"/customer/{customer.pk}/change/", f"/syncrun/{run.pk}/change/", "/syncrun/")
    for page in (*pages, f"/organization/{organization.pk}/change/", f"/syncrun/{run.pk}/live.json"):
        text = viewer.get(ROOT + page).content.decode()
        assert "polar-button" not in text, page
        assert "export/" not in text, page
        assert 'name="action"' not in text, page
    assert not mirrored.polar.requests
    assert SyncRun.objects.count() == 1


def test_viewer_cannot_send_an_action(mirrored: FakePolarServer, viewer: Client, eager_celery: None) -> None:
    mirrored.polar.reset_counts()
    for action in ("refresh_selected", "export_customers", "delete_selected"):
        answer = viewer.post(f"{ROOT}/customer/", {"action": action, "_selected_action": [str(get_customer().pk)]})
        assert answer.status_code in {200, 302}
        assert not answer.get("Content-Disposition")
    assert not mirrored.polar.requests
    assert Customer.objects.count() == 12


def test_nothing_is_steered_that_one_may_not_view(
    mirrored: FakePolarServer, make_client: Callable[..., Client], eager_celery: None
) -> None:
    blind = make_client("sync_organization", is_viewer=False)
    run = begin_run(polar_settings.get_organization("default"))
    mirrored.polar.reset_counts()
    for url in list_doors():
        assert blind.post(url).status_code == 403, url
    run.refresh_from_db()
    assert run.is_running
    assert not mirrored.polar.requests
    assert not LogEntry.objects.exists()


def test_run_is_begun_only_by_who_may_view_its_organization(
    mirrored: FakePolarServer, make_client: Callable[..., Client]
) -> None:
    run = SyncRun.objects.get()
    for names, is_offered in ((["view_syncrun"], False), (["view_syncrun", "view_organization"], True)):
        client = make_client("sync_organization", *names, is_viewer=False)
        assert ("Sync now" in client.get(f"{ROOT}/syncrun/{run.pk}/change/").content.decode()) == is_offered


def test_strangers_are_sent_to_the_login(mirrored: FakePolarServer, make_client: Callable[..., Client]) -> None:
    nobody = make_client(is_viewer=False)
    for url in list_doors():
        answer = Client().post(url)
        assert answer.status_code == 302
        assert "/login/" in answer["Location"]
        assert nobody.post(url).status_code == 403
    for page in ("customer/", "syncrun/", f"customer/{get_customer().pk}/change/"):
        assert nobody.get(f"{ROOT}/{page}").status_code == 403
    hidden = (f"customer/{get_customer().pk}/{name}.json" for name in ("state", "version"))
    for page in (*hidden, f"syncrun/{SyncRun.objects.get().pk}/live.json"):
        assert nobody.get(f"{ROOT}/{page}").status_code == 404
    overview = nobody.get("/admin/polar_sync/")
    assert b"polar-card" not in overview.content


def test_steering_needs_a_post_with_a_token(mirrored: FakePolarServer, operator: Client) -> None:
    for url in list_doors():
        assert operator.get(url).status_code == 405
    careful = Client(enforce_csrf_checks=True)
    careful.cookies = operator.cookies
    for url in list_doors():
        assert careful.post(url).status_code == 403


def test_refresh_brings_the_new_state(mirrored: FakePolarServer, operator: Client, eager_celery: None) -> None:
    customer = get_customer()
    mirrored.polar.update_customer(str(customer.pk), name="Renamed on Polar")
    before = operator.get(f"{ROOT}/customer/{customer.pk}/version.json").json()
    answer = operator.post(f"{ROOT}/customer/{customer.pk}/refresh/")
    assert answer.status_code == 303
    assert "this page shows the answer when it has come" in tell(answer)[0]
    assert "Renamed on Polar" in operator.get(answer["Location"]).content.decode()
    assert operator.get(f"{ROOT}/customer/{customer.pk}/version.json").json() != before
    assert LogEntry.objects.get().get_change_message() == "Refresh from Polar"


def test_page_waits_only_until_the_answer_has_come(
    mirrored: FakePolarServer, operator: Client, eager_celery: None
) -> None:
    url = f"{ROOT}/customer/{get_customer().pk}/change/"
    version = operator.get(f"{ROOT}/customer/{get_customer().pk}/version.json").json()["version"]
    assert "polar-watch" in operator.get(url, {"since": version}).content.decode()
    assert "polar-watch" not in operator.get(url, {"since": "earlier"}).content.decode()


def test_selected_customers_are_refreshed(mirrored: FakePolarServer, operator: Client, eager_celery: None) -> None:
    chosen = list(Customer.objects.order_by("pk").values_list("pk", flat=True)[:3])
    for pk in chosen:
        mirrored.polar.update_customer(str(pk), name="Renamed on Polar")
    mirrored.polar.reset_counts()
    answer = operator.post(
        f"{ROOT}/customer/", {"action": "refresh_selected", "_selected_action": list(map(str, chosen))}
    )
    assert "Workers ask Polar about 3 customers of default" in tell(answer)[0]
    assert set(Customer.objects.filter(name="Renamed on Polar").values_list("pk", flat=True)) == set(chosen)
    assert mirrored.polar.counts["customers:get_state"] == 3


def test_refreshed_customer_leads_back_to_the_filtered_list(
    mirrored: FakePolarServer, operator: Client, eager_celery: None
) -> None:
    filters = "active=yes&q=a"
    page = f"{ROOT}/customer/{get_customer().pk}/change/"
    content = operator.get(page, {"_changelist_filters": filters}).content.decode()
    assert f'<a href="{ROOT}/customer/?active=yes&amp;q=a">Customers</a>' in content
    (door,) = re.findall('<form method="post" action="([^"]*/refresh/[^"]*)"', content)
    answer = operator.post(door)
    assert parse_qs(urlsplit(answer["Location"]).query).keys() == {"since", "_changelist_filters"}
    content = operator.get(answer["Location"]).content.decode()
    assert f'href="{ROOT}/customer/?active=yes&amp;q=a" class="closelink">' in content


def test_refresh_of_selected_customers_leads_back_to_the_filtered_list(
    mirrored: FakePolarServer, operator: Client, eager_celery: None
) -> None:
    url = f"{ROOT}/customer/?deleted=no&o=1"
    answer = operator.post(url, {"action": "refresh_selected", "_selected_action": [str(get_customer().pk)]})
    assert answer["Location"] == url


def test_too_many_selected_customers_are_not_refreshed(
    mirrored: FakePolarServer, operator: Client, eager_celery: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.admin.actions.MAX_SELECTED", 5)
    mirrored.polar.reset_counts()
    everybody = {"action": "refresh_selected", "select_across": "1", "_selected_action": [str(get_customer().pk)]}
    answer = operator.post(f"{ROOT}/customer/", everybody)
    assert "More than 5 customers" in tell(answer)[0]
    assert not mirrored.polar.requests


def test_sync_now_runs_to_its_end(mirrored: FakePolarServer, operator: Client, eager_celery: None) -> None:
    mirrored.polar.create_customer(name="New on Polar")
    answer = operator.post(f"{ROOT}/organization/{Organization.objects.get().pk}/sync/")
    run = SyncRun.objects.latest("pk")
    assert answer["Location"] == f"{ROOT}/syncrun/{run.pk}/change/"
    assert run.status == "succeeded"
    assert Customer.objects.filter(name="New on Polar").exists()


def test_sync_now_leads_to_the_active_run(mirrored: FakePolarServer, operator: Client, eager_celery: None) -> None:
    active = begin_run(polar_settings.get_organization("default"))
    answer = operator.post(f"{ROOT}/organization/{active.organization_id}/sync/")
    assert answer["Location"] == f"{ROOT}/syncrun/{active.pk}/change/"
    assert "active already" in tell(answer)[0]
    assert SyncRun.objects.count() == 2


def test_abandoned_run_is_resumed(mirrored: FakePolarServer, operator: Client, eager_celery: None) -> None:
    run = begin_run(polar_settings.get_organization("default"))
    page = f"{ROOT}/syncrun/{run.pk}/change/"
    assert "/resume/" not in operator.get(page).content.decode()
    SyncRun.objects.filter(pk=run.pk).update(heartbeat_at=None)
    assert "/resume/" in operator.get(page).content.decode()
    answer = operator.post(f"{ROOT}/syncrun/{run.pk}/resume/")
    assert answer["Location"] == page
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert "nothing to resume" in tell(operator.post(f"{ROOT}/syncrun/{run.pk}/resume/"))[-1]


def test_cancelled_run_ends_at_once(mirrored: FakePolarServer, operator: Client) -> None:
    run = begin_run(polar_settings.get_organization("default"))
    answer = operator.post(f"{ROOT}/syncrun/{run.pk}/cancel/")
    run.refresh_from_db()
    assert (run.status, run.reason) == ("failed", "cancelled")
    assert "Cancelled by person" in run.detail
    assert "stop at their next step" in tell(answer)[0]
    assert "nothing to cancel" in tell(operator.post(f"{ROOT}/syncrun/{run.pk}/cancel/"))[-1]


def test_failed_customers_are_retried_and_marked(
    mirrored: FakePolarServer, operator: Client, eager_celery: None, settings: Any
) -> None:
    # A token for which states are asked one by one, so that one of them can fail.
    token = mirrored.polar.create_token(["customers:read"])
    settings.POLAR_SYNC["ORGANIZATIONS"]["default"]["ACCESS_TOKEN"] = token
    customer = get_customer()
    mirrored.polar.faults.add(
        Fault(kind="malformed", operation="customers:get_state", customer=str(customer.pk), body={"id": "?"}, times=1)
    )
    with pytest.raises(SystemExit):
        call_command("polar_sync")
    run = SyncRun.objects.latest("pk")
    assert SyncFailure.objects.get(run=run).customer_id == str(customer.pk)
    page = operator.get(f"{ROOT}/syncrun/{run.pk}/change/").content.decode()
    assert f"/admin/polar_sync/customer/{customer.pk}/change/" in page
    assert "Not yet" in page
    assert "state has no valid id" in page
    operator.post(f"{ROOT}/syncrun/{run.pk}/retry/")
    page = operator.get(f"{ROOT}/syncrun/{run.pk}/change/").content.decode()
    assert "Not yet" not in page
    assert '<span class="polar-label polar-good">Mirrored</span>' in page


def test_run_without_failures_has_nothing_to_retry(mirrored: FakePolarServer, operator: Client) -> None:
    answer = operator.post(f"{ROOT}/syncrun/{SyncRun.objects.get().pk}/retry/")
    assert "nothing to retry" in tell(answer)[0]


def test_deletions_are_allowed_only_by_the_box(mirrored: FakePolarServer, operator: Client, eager_celery: None) -> None:
    for key in list(mirrored.polar.customers)[:8]:
        mirrored.polar.delete_customer(key)
    door = f"{ROOT}/organization/{Organization.objects.get().pk}/sync/"
    operator.post(door)
    run = SyncRun.objects.latest("pk")
    assert run.reason == "mass_deletion"
    assert "allow_mass_deletion" in operator.get(f"{ROOT}/syncrun/{run.pk}/change/").content.decode()
    operator.post(door, {"allow_mass_deletion": "1"})
    assert SyncRun.objects.latest("pk").status == "succeeded"
    assert Customer.objects.count() == 4


def test_organization_that_left_the_settings_is_told_of(operator: Client, settings: Any) -> None:
    settings.POLAR_SYNC = {"ORGANIZATIONS": {}}
    organization = factories.create_organization("gone")
    factories.apply_states(organization, factories.build_state("one"), interval=factories.read_at(0))
    run = SyncRun.objects.create(organization=organization, status="partial", failed=1)
    SyncFailure.objects.create(run=run, customer_id=factories.make_id("one"), reason="?")
    for url in (
        f"{ROOT}/organization/{organization.pk}/sync/",
        f"{ROOT}/customer/{factories.make_id('one')}/refresh/",
        f"{ROOT}/syncrun/{run.pk}/retry/",
    ):
        answer = operator.post(url)
        assert answer.status_code == 303
        assert "The settings do not allow it" in tell(answer)[-1], url


@pytest.fixture
def silent_broker() -> Iterator[None]:
    """A broker on a port that nobody listens on."""
    with use_broker("redis://127.0.0.1:1/0", task_publish_retry=False):
        yield


def test_silent_broker_is_told_of(mirrored: FakePolarServer, operator: Client, silent_broker: None) -> None:
    answer = operator.post(f"{ROOT}/customer/{get_customer().pk}/refresh/")
    assert answer.status_code == 303
    assert "broker does not answer" in tell(answer)[0]


def test_no_page_shows_the_token(mirrored: FakePolarServer, admin_client: Client) -> None:
    run, organization = SyncRun.objects.get(), Organization.objects.get()
    for page in (
        "/",
        "/customer/",
        f"/customer/{get_customer().pk}/change/",
        f"/syncrun/{run.pk}/change/",
        f"/organization/{organization.pk}/change/",
        "/organization/",
    ):
        answer = admin_client.get(ROOT + page)
        assert answer.status_code == 200
        assert mirrored.polar.access_token not in answer.content.decode()
