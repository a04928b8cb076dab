"""A person at a real browser: searches, opens, refreshes, syncs and watches, sees a failure and retries it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from polar_sync.testing import FakePolar
from polar_sync.testing.faults import Fault
from tests.admin.served import PASSWORD, Site, serve_site
from tests.catalogues import LANGUAGES
from tests.factories import build_meter, build_subscription, make_id
from tests.services import miss

pytestmark = pytest.mark.any_database
PATIENT = 60_000

try:
    from playwright.sync_api import Page, expect

    from tests.admin.browsing import CHROMIUM, Watched, log_in, open_browser

    expect.set_options(timeout=PATIENT)
except ModuleNotFoundError:
    CHROMIUM = None

CUSTOMERS = 120


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Site]:
    if CHROMIUM is None:
        miss("Chromium or playwright is absent")
    polar = FakePolar.generate(seed=3, customers=CUSTOMERS)
    with serve_site(polar, tmp_path_factory.mktemp("site"), database=migrated_database) as served:
        served.manage("polar_sync")
        yield served


@pytest.fixture
def language() -> str:
    """Of the browser, and so of the pages."""
    return "en-US"


@pytest.fixture
def page(site: Site, tmp_path: Path, language: str) -> Iterator[Page]:
    """A page of a fresh browser, which afterwards must not have complained nor asked anybody else."""
    with open_browser(tmp_path / "profile", locale=language) as browser:
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


@pytest.fixture(scope="module")
def wide(site: Site) -> str:
    """A customer whose texts have no place to break, with a meter that owes and one that nothing was ever done to."""
    key = site.polar.customers[30]
    state = site.polar.get_state(key)
    state |= {"name": "W" * 250, "email": f"{'w' * 150}@example.com", "email_verified": True, "external_id": "x" * 200}
    state["active_meters"] = [
        build_meter("owes", consumed_units=1_234_567, credited_units=100, balance=-1_234_467),
        build_meter("untouched", consumed_units=0, credited_units=0, balance=0),
    ]
    state["active_subscriptions"] = [build_subscription("wide", status="past_due")]
    site.polar.replace_state(key, state)
    site.manage("polar_sync", "--customer", key)
    return key


def measure_width(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth")
    return width


def list_outside(page: Page, selector: str) -> list[str]:
    """Those elements that do not end within the window."""
    found: list[str] = page.locator(selector).evaluate_all(
        "all => all.filter(one => { const box = one.getBoundingClientRect();"
        " return box.left < 0 || box.right > window.innerWidth }).map(one => one.outerHTML)"
    )
    return found


def test_long_names_and_bars_end_inside_a_phone(site: Site, page: Page, wide: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    log_in(page, site)
    paths = ("customer/?q=wwwwww", f"customer/{wide}/change/", f"customer/{wide}/history/", f"meter/?q={wide}")
    for path in paths:
        page.goto(f"{site.url}/admin/polar_sync/{path}")
        assert measure_width(page) <= 390, path
        assert list_outside(page, ".polar-bar, .polar-label, .polar-button, td time") == [], path
    # Cards: each value below the last, with its heading beside it.
    page.goto(f"{site.url}/admin/polar_sync/customer/{wide}/change/")
    status = page.locator("#subscriptions-group .field-status_label")
    assert status.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Status"'
    assert status.bounding_box()["y"] > page.locator("#subscriptions-group .field-product_name").bounding_box()["y"]  # type: ignore[index]


MAKE_RUNS = """
from django.utils import timezone
from datetime import timedelta
from polar_sync.admin.display_names import RUN_REASONS
from polar_sync.models import Organization, SyncRun
numbers = {"created": 123456, "updated": 23456, "unchanged": 45678, "deleted": 3456, "failed": 1234}
for reason in RUN_REASONS:
    SyncRun.objects.create(
        organization=Organization.objects.get(), status="partial", reason=reason, requests=234567,
        throttled_seconds=3599, started_at=timezone.now() - timedelta(hours=100), finished_at=timezone.now(), **numbers
    )
"""


@pytest.fixture(scope="module")
def long_runs(site: Site) -> None:
    """Runs that ended for each reason, with numbers of six digits."""
    site.run_code(MAKE_RUNS)


MAKE_DELIVERIES = """
from datetime import timedelta
from django.utils import timezone
from polar_sync.models import Customer, Organization, WebhookDelivery
now = timezone.now()
for number, status in enumerate(WebhookDelivery.Status):
    WebhookDelivery.objects.create(
        organization=Organization.objects.get(), webhook_id=f"{number:08}-0000-4000-8000-000000000000", status=status,
        type="subscription.uncanceled", timestamp=now - timedelta(hours=1000, minutes=59), received_at=now, via="feed",
        customer_id={key!r}, payload=chr(123) + chr(125), attempts=9, next_attempt_at=now + timedelta(hours=1),
        reason="UnreadableAnswerError: " + "W" * 200,
    )
print(WebhookDelivery.objects.latest("pk").pk)
"""


@pytest.fixture(scope="module")
def deliveries(site: Site) -> str:
    """One of every status, with much to show; the key of the last."""
    return site.run_code(MAKE_DELIVERIES.replace("{key!r}", repr(site.polar.customers[0]))).strip()


@pytest.mark.parametrize("language", ["en-US", *LANGUAGES])
@pytest.mark.usefixtures("wide", "long_runs", "deliveries")
def test_lists_fit_beside_the_sidebars(site: Site, page: Page, language: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    log_in(page, site)
    for is_open in ("true", "false"):
        page.evaluate(f"localStorage.setItem('django.admin.navSidebarIsOpen', '{is_open}')")
        for model in ("customer", "syncrun", "webhookdelivery"):
            page.goto(f"{site.url}/admin/polar_sync/{model}/")
            page.locator("time").evaluate_all("all => all.forEach(one => { one.textContent = '11 months ago' })")
            assert measure_width(page) <= 1280
            over = page.evaluate("(box => box.scrollWidth - box.clientWidth)(document.querySelector('.results'))")
            assert over <= 0, f"{model}, sidebar open: {is_open}"
    lines = page.locator("time").evaluate_all("all => all.map(one => one.getClientRects().length)")
    assert set(lines) == {1}, "a time is broken into lines"


@pytest.mark.usefixtures("deliveries")
def test_numbers_stand_at_the_right(site: Site, page: Page, wide: str) -> None:
    log_in(page, site)
    columns = {
        "customer/": ("grants",),
        "subscription/": ("price",),
        "meter/": ("consumed", "credited", "balance_label"),
        "syncrun/": ("listed", "changes", "failures", "requests_used", "duration"),
        "webhookdelivery/": ("lag", "attempt_count"),
        f"customer/{wide}/change/": ("price", "consumed", "credited", "balance_label"),
    }
    for path, names in columns.items():
        page.goto(f"{site.url}/admin/polar_sync/{path}")
        for name in names:
            for selector in (f"th.column-{name}", f"td.field-{name}"):
                align = page.locator(selector).first.evaluate("cell => getComputedStyle(cell).textAlign")
                assert align in {"end", "right"}, (path, selector)


def test_ids_are_copied_by_a_button(site: Site, page: Page, wide: str) -> None:
    log_in(page, site)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{site.url}/admin/polar_sync/customer/{wide}/change/")
    shown = page.locator(".polar-facts .polar-id")
    assert shown.evaluate("code => code.scrollWidth > code.clientWidth"), "the id is not cut"
    page.click(".polar-facts .polar-copy")
    expect(page.locator(".polar-facts .polar-copied")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == wide


def test_files_are_in_one_menu_that_closes(site: Site, page: Page) -> None:
    log_in(page, site)
    page.goto(f"{site.url}/admin/polar_sync/customer/?deleted=no")
    files = page.locator(".polar-export a")
    expect(files.first).to_be_hidden()
    page.click(".polar-export summary")
    expect(files).to_have_text(["Customers as CSV", "Subscriptions as CSV", "Meters as CSV"])
    expect(files.first).to_be_visible()
    page.keyboard.press("Escape")
    expect(files.first).to_be_hidden()
    page.click(".polar-export summary")
    page.click("#content h1")
    expect(files.first).to_be_hidden()


@pytest.mark.parametrize("language", ["ar"])
def test_signs_bars_and_plots_are_readable_from_right_to_left(site: Site, page: Page, wide: str, language: str) -> None:
    log_in(page, site)
    assert page.evaluate("document.documentElement.dir") == "rtl"
    inside = page.locator(".polar-plot svg[role=img]:has(rect)").evaluate_all(
        "all => all.length > 0 && all.every(plot => {"
        " const bars = Math.min(...[...plot.querySelectorAll('rect')].map(bar => bar.getBoundingClientRect().left));"
        " return [...plot.querySelectorAll('line + text')].every("
        "name => name.getBoundingClientRect().right <= bars) })"
    )
    assert inside, "a name runs into its bars"
    page.goto(f"{site.url}/admin/polar_sync/meter/?q={wide}")
    balance = page.locator(".field-balance_label .polar-bad bdi").first
    left = (
        "(code, at) => { const range = document.createRange(); range.setStart(code.firstChild, at);"
        " range.setEnd(code.firstChild, at + 1); return range.getBoundingClientRect().left }"
    )
    sign, digit = (balance.evaluate(left, place) for place in (0, 1))
    assert sign < digit, "the sign stands behind its number"
    assert measure_width(page) <= 1280
    time = page.locator("td time").first
    assert time.evaluate("one => getComputedStyle(one).direction") == "ltr", "English words are read as such"
    for path in ("customer/", f"customer/{wide}/change/", "syncrun/1/change/"):
        page.goto(f"{site.url}/admin/polar_sync/{path}")
        assert page.evaluate("document.documentElement.dir") == "rtl"
        assert measure_width(page) <= 1280, path
        assert list_outside(page, ".polar-bar, .polar-label, .polar-button, .polar-number, td time") == [], path


def test_every_page_keeps_to_the_policy_on_a_phone_in_the_dark(site: Site, page: Page, deliveries: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    log_in(page, site)
    customer = f"customer/{site.polar.customers[0]}/change/"
    models = ("customer", "subscription", "benefitgrant", "meter", "product", "organization", "syncrun")
    pages = ("syncrun/1/change/", "organization/1/change/", "webhookdelivery/", f"webhookdelivery/{deliveries}/change/")
    for path in ("", customer, *(f"{model}/" for model in models), *pages):
        answer = page.goto(f"{site.url}/admin/polar_sync/{path}")
        assert answer is not None
        assert answer.ok
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 400, f"{path} is {width} pixels wide"


@pytest.mark.parametrize(("width", "is_beside"), [(1280, True), (390, False)])
def test_plots_have_room_for_every_label(site: Site, page: Page, width: int, is_beside: bool) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    log_in(page, site)
    left, right = (page.locator(".polar-blocks > *").nth(number).bounding_box() for number in (0, 1))
    assert left is not None
    assert right is not None
    assert (left["y"] == right["y"]) == is_beside
    cut = """() => [...document.querySelectorAll(".polar-standing text")]
        .filter((text) => text.getClientRects().length).filter((text) => {
        const [inner, outer] = [text.getBoundingClientRect(), text.closest("svg").getBoundingClientRect()];
        return inner.left < outer.left - 1 || inner.right > outer.right + 1;
    }).map((text) => text.textContent)"""
    assert page.evaluate(cut) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_first_page_keeps_to_the_policy_and_leads_to_a_customer(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(site.url)
    page.click("text=Sign in to see it")
    page.fill("#id_username", "boss")
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_url(f"{site.url}/")
    expect(page.locator(".cards strong").first).not_to_have_text("0")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click(".places a[href*='/customer/'][href*='/change/']")
    expect(page.locator(".polar-summary").first).to_be_visible()


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


NAME_CUSTOMER = """
import time
from django.utils import timezone
from polar_sync.models import Customer
print(Customer.all_objects.filter(pk={key!r}).update(name={name!r}, synced_at=timezone.now()), time.time())
"""
ON_TIME = 2.0
MARK_OF_LOAD = "window.stayed = true"


def rename(site: Site, key: str, name: str) -> float:
    """Change a row in the database; gives when that was done."""
    number, moment = site.run_code(NAME_CUSTOMER.format(key=key, name=name)).split()
    assert number == "1"
    return float(moment)


def wait_until_quiet(page: Page, door: str) -> None:
    """Until the page has seen that nothing changes any more."""
    page.evaluate("1")  # what it heard while the test did something else is told before this answer
    with page.expect_response(lambda answer: answer.url.endswith(door) and answer.status == 304):
        pass


def list_paths(site: Site) -> list[str]:
    return [f"customer/?q={site.polar.customers[2]}", f"customer/{site.polar.customers[2]}/change/"]


@pytest.mark.parametrize("place", ["list", "page"])
def test_change_is_shown_within_two_seconds_without_a_reload(site: Site, page: Page, place: str) -> None:
    key = site.polar.customers[2]
    path = list_paths(site)[place == "page"]
    shown = page.locator(".polar-headline" if place == "page" else "#result_list .field-label")
    log_in(page, site)
    page.goto(f"{site.url}/admin/polar_sync/{path}")
    page.evaluate(MARK_OF_LOAD)
    wait_until_quiet(page, "changes.json")
    page.evaluate(
        "selector => { window.seen = 0; new MutationObserver(() => { if (document.querySelector(selector)"
        ".textContent.includes('Changed meanwhile')) window.seen ||= Date.now() / 1000 })"
        ".observe(document.body, {subtree: true, childList: true, characterData: true}) }",
        ".polar-headline" if place == "page" else "#result_list .field-label",
    )
    moment = rename(site, key, f"Changed meanwhile on the {place}")
    expect(shown).to_contain_text(f"Changed meanwhile on the {place}")
    assert page.evaluate("window.seen") - moment <= ON_TIME
    assert page.evaluate("window.stayed") is True, "the page was loaded anew"
    expect(page.locator(".polar-changed")).to_have_count(0)  # the mark goes away again


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_changed_row_is_marked_with_as_much_motion_as_is_wanted(site: Site, page: Page, motion: str) -> None:
    page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
    log_in(page, site)
    page.goto(f"{site.url}/admin/polar_sync/customer/")
    wait_until_quiet(page, "changes.json")
    key = page.locator("#result_list .action-select").nth(3).input_value()
    rename(site, key, f"Marked {motion}")
    marked = page.locator("#result_list tr.polar-changed")
    expect(marked).to_have_count(1)
    expect(marked).to_contain_text(f"Marked {motion}")
    animation = marked.locator("td").last.evaluate("cell => getComputedStyle(cell).animationName")
    assert animation == ("none" if motion == "reduce" else "polar-changed")


ADD_CUSTOMER = """
from datetime import datetime, timezone
from uuid import UUID
from polar_sync.models import Customer, Organization
Customer.all_objects.create(
    pk=UUID({key!r}), organization=Organization.objects.get(), name="Newcomer {number}", payload="{{}}",
    created_at=datetime.now(timezone.utc), synced_at=datetime.now(timezone.utc),
)
"""


def add_customer(site: Site, number: int) -> None:
    site.run_code(ADD_CUSTOMER.format(key=make_id(f"newcomer {number}"), number=number))


def test_new_customers_come_to_the_list_and_can_be_selected(site: Site, page: Page) -> None:
    log_in(page, site)
    page.goto(f"{site.url}/admin/polar_sync/customer/")
    wait_until_quiet(page, "changes.json")
    add_customer(site, 1)
    rows = page.locator("#result_list tbody tr")
    expect(rows.first).to_contain_text("Newcomer 1")
    expect(rows).to_have_count(50)
    assert rows.first.locator("td.field-created").get_attribute("data-label") == "Created"
    page.check("#action-toggle")
    expect(page.locator("#result_list .action-select:checked")).to_have_count(50)
    expect(page.locator(".action-counter")).to_have_text("50 of 50 selected")


def test_list_stays_as_it_is_under_a_selection(site: Site, page: Page) -> None:
    log_in(page, site)
    page.goto(f"{site.url}/admin/polar_sync/customer/")
    wait_until_quiet(page, "changes.json")
    boxes = page.locator("#result_list .action-select")
    before = boxes.evaluate_all("all => all.map(one => one.value)")
    boxes.nth(2).check()
    rename(site, before[2], "Renamed while selected")
    expect(page.locator("#result_list tr.selected")).to_contain_text("Renamed while selected")
    add_customer(site, 2)
    wait_until_quiet(page, "changes.json")
    assert boxes.evaluate_all("all => all.map(one => one.value)") == before, "a row moved under the selection"
    assert boxes.nth(2).is_checked()
    boxes.nth(2).uncheck()
    expect(page.locator("#result_list tbody tr").first).to_contain_text("Newcomer 2")


def test_focus_and_what_is_open_stay_on_a_page_that_changes(site: Site, page: Page) -> None:
    key = site.polar.customers[2]
    log_in(page, site)
    page.goto(f"{site.url}/admin/polar_sync/customer/{key}/change/")
    wait_until_quiet(page, "changes.json")
    page.click("#polar-state")
    page.focus(".polar-facts .polar-copy >> nth=-1")
    rename(site, key, "Renamed under the focus")
    expect(page.locator(".polar-headline")).to_contain_text("Renamed under the focus")
    expect(page.locator("pre.polar-json").last).to_be_visible()
    assert page.evaluate("document.activeElement.className") == "polar-copy"
    assert page.locator(".polar-facts .polar-copy").count() == page.locator(".polar-facts .polar-id").count()


def test_hidden_page_asks_nothing(site: Site, page: Page) -> None:
    log_in(page, site)
    page.goto(f"{site.url}/admin/polar_sync/customer/")
    wait_until_quiet(page, "changes.json")
    asked: list[str] = []
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    page.wait_for_timeout(500)
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert asked == []
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    wait_until_quiet(page, "changes.json")


def test_errors_are_met_with_patience(site: Site, page: Page) -> None:
    log_in(page, site)
    page.route("**/changes.json", lambda route: route.fulfill(status=304 if len(asked) > 2 else 200, body="no JSON"))
    asked: list[float] = []
    page.on("request", lambda request: asked.append(time.monotonic()) if "changes.json" in request.url else None)
    page.goto(f"{site.url}/admin/polar_sync/customer/")
    page.wait_for_timeout(8500)
    pauses = [after - before for before, after in pairwise(asked[:3])]
    assert pauses[0] > 1.8
    assert pauses[1] > 3.6


def test_page_without_scripts_is_whole(site: Site, tmp_path: Path) -> None:
    with open_browser(tmp_path / "profile", java_script_enabled=False) as browser:
        page = browser.new_page()
        log_in(page, site)
        for path in list_paths(site):
            answer = page.goto(f"{site.url}/admin/polar_sync/{path}")
            assert answer is not None
            assert answer.ok
            expect(page.locator(".polar-id, #result_list").first).to_be_visible()
