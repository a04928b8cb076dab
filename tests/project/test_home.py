"""The example project's first page, as anybody, staff without permissions and staff with them see it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from polar_sync.models import Organization, SyncRun
from tests.factories import apply_states, build_full_state, create_organization, read_at

pytestmark = pytest.mark.django_db


@pytest.fixture
def mirror() -> Organization:
    organization = create_organization()
    apply_states(organization, *(build_full_state(number) for number in range(3)), interval=read_at(0))
    SyncRun.objects.create(organization=organization, status="succeeded", unchanged=3, requests=1)
    return organization


def make_client(*codenames: str, is_staff: bool = True) -> Client:
    user = User.objects.create_user("person", is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def read_home(client: Client) -> str:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    text: str = answer.content.decode()
    assert "<style" not in text
    assert "style=" not in text
    return text


ALL = ("view_customer", "view_subscription", "view_benefitgrant", "view_meter", "view_syncrun", "view_organization")


def test_anybody_is_told_to_sign_in_and_sees_no_figure(mirror: Organization) -> None:
    with CaptureQueriesContext(connection) as queries:
        page = read_home(Client())
    assert len(queries) == 0
    assert "Sign in to see it" in page
    assert 'href="/polar/docs/"' in page
    assert "<strong>" not in page
    assert "Ada " not in page  # no token holds a space


def test_person_who_is_not_staff_sees_what_anybody_sees(mirror: Organization) -> None:
    page = read_home(make_client(*ALL, is_staff=False))
    assert "you are not staff" in page
    assert "<strong>" not in page
    assert "Ada " not in page  # no token holds a space


def test_staff_without_permissions_see_no_figure(mirror: Organization) -> None:
    page = read_home(make_client())
    assert "You may view nothing of the mirror yet" in page
    assert "<strong>" not in page
    assert "Ada " not in page  # no token holds a space


def test_staff_see_what_the_mirror_holds_and_where(mirror: Organization) -> None:
    client = make_client(*ALL)
    page = read_home(client)
    cards = [("3", "customers"), ("6", "active subscriptions"), ("6", "granted benefits"), ("0", "meters below zero")]
    for number, label in cards:
        assert f"<strong>{number}</strong> <span>{label}</span>" in page
    run = SyncRun.objects.get()
    assert f'<a href="/admin/polar_sync/syncrun/{run.pk}/change/">#{run.pk}</a>' in page
    assert "succeeded, 3 customers, 1 request." in page
    links = [part.split('"')[0] for part in page.split('<li><a href="')[1:]]
    customer = next(link for link in links if link.endswith("/state")).split("/")[-2]
    assert f"/admin/polar_sync/customer/{customer}/change/" in links
    assert len(links) == len(set(links)) == 13
    for link in links:
        assert client.get(link).status_code == 200, link
    with CaptureQueriesContext(connection) as queries:
        read_home(client)
    assert len(queries) <= 9


def test_staff_see_only_what_they_may(mirror: Organization) -> None:
    page = read_home(make_client("view_meter"))
    assert "meters below zero" in page
    for text in ("customers</span>", "active subscriptions", "granted benefits", "Ada ", "last run", "/state"):
        assert text not in page


def test_staff_who_may_view_runs_alone_see_the_last_one(mirror: Organization) -> None:
    page = read_home(make_client("view_syncrun"))
    assert "You may view nothing" not in page
    assert "succeeded, 3 customers, 1 request." in page
    assert "<strong>" not in page


def test_empty_mirror_says_how_to_begin() -> None:
    client = make_client(*ALL)
    page = read_home(client)
    assert "Nothing is mirrored yet" in page
    assert "<strong>0</strong> <span>customers</span>" in page
    for link in [part.split('"')[0] for part in page.split('<li><a href="')[1:]]:
        assert client.get(link).status_code == 200, link
