"""A person at a real browser: searches, opens, refreshes, syncs and watches, sees a failure and retries it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from polar_sync.testing import FakePolar
from polar_sync.testing.faults import Fault
from tests.admin.served import Site, serve_site
from tests.services import miss

pytestmark = pytest.mark.any_database

try:
    from playwright.sync_api import Page, expect

    from tests.admin.browsing import CHROMIUM, Watched, log_in, open_browser
except ModuleNotFoundError:
    CHROMIUM = None

PATIENT = 20_000
CUSTOMERS = 120


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if CHROMIUM is None:
        miss("Chromium or playwright is absent")
    polar = FakePolar.generate(seed=3, customers=CUSTOMERS)
    with serve_site(polar, tmp_path_factory.mktemp("site")) as served:
        served.manage("polar_sync")
        yield served


@pytest.fixture
def page(site: Site, tmp_path: Path) -> Iterator[Page]:
    """A page of a fresh browser, which afterwards must not have complained nor asked anybody else."""
    with open_browser(tmp_path / "profile") as browser:
        watched = Watched(browser)
        page = browser.new_page()
        page.set_default_timeout(PATIENT)
        yield page
        assert watched.complaints == []
        assert watched.hosts == {site.url.removeprefix("http://")}


@pytest.fixture(autouse=True)
def no_faults(site: Site) -> Iterator[None]:
    yield
    site.polar.faults.clear()


def test_person_finds_a_customer_and_refreshes_it(site: Site, page: Page) -> None:
    key = site.polar.customers[7]
    site.polar.update_customer(key, name="Somebody to find", email="find@example.com")
    site.manage("polar_sync", "--customer", key)
    site.polar.update_customer(key, name="Renamed meanwhile")
    log_in(page, site)
    page.click("text=Customers >> nth=0")
    page.fill("#searchbar", "find@example")
    page.press("#searchbar", "Enter")
    page.click("text=Somebody to find")
    expect(page.locator(".polar-headline")).to_contain_text("Somebody to find")
    page.click("button:has-text('Refresh from Polar')")
    expect(page.locator(".messagelist")).to_contain_text("A worker asks Polar")
    expect(page.locator(".polar-headline")).to_contain_text("Renamed meanwhile", timeout=PATIENT)
    expect(page.locator("#polar-watch")).to_have_count(0)
    page.click("summary:has-text('The state, as Polar')")
    expect(page.locator(".polar-json").last).to_contain_text('"name": "Renamed meanwhile"')


def test_person_starts_a_sync_and_watches_it_finish(site: Site, page: Page) -> None:
    site.polar.create_customer(name="Came during the watch")
    # So slow that the page has something to follow.
    site.polar.faults.add(Fault(kind="latency", operation="customers:list", seconds=1.5, times=None))
    log_in(page, site)
    page.click("button:has-text('Sync now')")
    page.wait_for_url(re.compile("/syncrun/[0-9]+/change/"))
    page.evaluate("window.stayed = true")
    expect(page.locator("[data-part=status] .polar-label")).to_have_text("Running")
    expect(page.locator("[data-part=tools]")).to_contain_text("Cancel the run")
    expect(page.locator("[data-part=status] .polar-label")).to_have_text("Succeeded", timeout=PATIENT)
    expect(page.locator(".polar-count-created strong")).to_have_text("1")
    expect(page.locator("[data-part=tools]")).not_to_contain_text("Cancel the run")
    assert page.evaluate("window.stayed") is True, "the page was loaded anew"


def test_person_sees_a_failure_and_retries_it(site: Site, page: Page) -> None:
    key = site.polar.customers[11]
    trouble = Fault(kind="malformed", customer=key, body={"id": "?"}, times=None)
    site.polar.faults.add(trouble)
    # With a token for which states are asked one by one, so that one of them can fail.
    token = site.polar.create_token(["customers:read"])
    assert site.manage("polar_sync", check=False, POLAR_ACCESS_TOKEN=token).returncode == 1
    site.polar.faults.clear()
    log_in(page, site)
    page.click("tbody a[href*='/syncrun/'] >> nth=0")
    failures = page.locator("[data-part=failures]")
    expect(failures).to_contain_text("state has no valid id")
    expect(failures).to_contain_text("Not yet")
    page.click("button:has-text('Retry failed customers')")
    page.evaluate("window.stayed = true")
    expect(failures).to_contain_text("Mirrored", timeout=PATIENT)
    expect(failures).not_to_contain_text("Not yet")
    page.click(f"[data-part=failures] a[href*='{key}']")
    expect(page.locator(".polar-headline")).to_be_visible()


def test_person_cancels_a_run(site: Site, page: Page) -> None:
    site.polar.faults.add(Fault(kind="latency", operation="customers:list", seconds=3, times=None))
    log_in(page, site)
    page.click("button:has-text('Sync now')")
    page.click("button:has-text('Cancel the run')")
    expect(page.locator("[data-part=status]")).to_contain_text("Cancelled")


def test_viewer_sees_pages_without_buttons(site: Site, page: Page) -> None:
    log_in(page, site, "viewer")
    expect(page.locator(".polar-card").first).to_be_visible()
    expect(page.locator(".polar-button")).to_have_count(0)
    page.click("text=Customers >> nth=0")
    expect(page.locator("select[name=action]")).to_have_count(0)
    expect(page.locator(".polar-export")).to_have_count(0)


def test_every_page_keeps_to_the_policy_on_a_phone_in_the_dark(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    log_in(page, site)
    customer = f"customer/{site.polar.customers[0]}/change/"
    models = ("customer", "subscription", "benefitgrant", "meter", "product", "organization", "syncrun")
    for path in ("", customer, *(f"{model}/" for model in models), "syncrun/1/change/"):
        answer = page.goto(f"{site.url}/admin/polar_sync/{path}")
        assert answer is not None
        assert answer.ok
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 400, f"{path} is {width} pixels wide"


def test_hostile_names_run_nothing_in_a_browser(site: Site, page: Page) -> None:
    key = site.polar.customers[20]
    text = "<script>window.harm = 1</script><img src=x onerror='window.harm = 1'>\u202e"
    site.polar.update_customer(key, name=text, email="harm@example.com")
    site.manage("polar_sync", "--customer", key)
    log_in(page, site)
    for path in ("customer/?q=harm@example.com", f"customer/{key}/change/"):
        page.goto(f"{site.url}/admin/polar_sync/{path}")
        expect(page.locator("bdi:has-text('<script>')").first).to_be_visible()
        assert page.evaluate("window.harm") is None
