"""`python -m tests.admin.screenshots docs/screenshots` takes the README's pictures of every page, light and dark."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page

from polar_sync.testing import FakePolar
from polar_sync.testing.faults import Fault
from tests.admin.browsing import log_in, open_browser
from tests.admin.served import Site, serve_site

CUSTOMERS = 400
WIDTH, HEIGHT = 1440, 900
FIND_ONE = """
from polar_sync.models import Customer
full = Customer.objects.filter(subscriptions__meters__isnull=False, meters__balance__lt=0, benefit_grants__isnull=False)
print(full.filter(name__startswith="Grace").order_by("-created_at").first().pk)
"""
# The machine that takes the pictures need not have every script's letters.
RENAME = r"""
from polar_sync.models import Product
Product.objects.filter(name__regex="[^ -~]").update(name="Team")
"""
# As if a run had succeeded on each of the days before.
REMEMBER = """
import math
from datetime import timedelta
from polar_sync.models import DailyStatistics
now = DailyStatistics.objects.get()
for days in range(1, 30):
    shares = [1 - days * slope + 0.012 * math.sin(days * (n + 1)) for n, slope in enumerate((0.008, 0.005, 0.006))]
    DailyStatistics.objects.create(
        organization=now.organization, date=now.date - timedelta(days=days),
        customers=int(now.customers * shares[0]), active_subscriptions=int(now.active_subscriptions * shares[1]),
        monthly_recurring_revenue={
            currency: int(amount * shares[2]) for currency, amount in now.monthly_recurring_revenue.items()
        },
    )
"""
NAMES = (
    "Grace Hopper",
    "Ada Lovelace",
    "Alan Turing",
    "Edsger Dijkstra",
    "Barbara Liskov",
    "Søren Ærøskøbing",
    "Ñandú Peña",
)


def make_polar() -> FakePolar:
    """Customers who came over two years, the way a business grows."""
    polar = FakePolar(seed=7, clock=lambda: datetime.now(UTC))
    polar.generate_customers(CUSTOMERS, seed=7)
    living = [record for record in polar.store if isinstance(record.customer, dict)]
    start = datetime.now(UTC) - timedelta(days=700)
    for number, record in enumerate(living):
        moment = start + timedelta(days=690 * (number / len(living)) ** 0.6)
        text = moment.isoformat().replace("+00:00", "Z")
        state = polar.get_state(record.key)
        state["created_at"] = text
        state["name"] = f"{NAMES[number % len(NAMES)]} {number + 1}"
        for one in state["active_subscriptions"]:
            one["created_at"] = one["started_at"] = (moment + timedelta(hours=5)).isoformat().replace("+00:00", "Z")
        polar.replace_state(record.key, state)
    return polar


def take(page: Page, folder: Path, name: str, *, full: bool = False) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_timeout(150)
        page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=full, animations="disabled")


def take_all(page: Page, site: Site, folder: Path) -> None:
    page.goto(f"{site.url}/admin/polar_sync/")
    take(page, folder, "overview", full=True)
    page.goto(f"{site.url}/admin/polar_sync/customer/?active=yes")
    take(page, folder, "customers")
    customer = site.run_code(FIND_ONE).strip()
    page.goto(site.url)
    take(page, folder, "home")
    page.goto(f"{site.url}/admin/polar_sync/customer/{customer}/change/")
    take(page, folder, "customer", full=True)
    page.goto(f"{site.url}/admin/polar_sync/syncrun/")
    take(page, folder, "runs")
    page.goto(f"{site.url}/admin/polar_sync/syncrun/1/change/")
    take(page, folder, "run", full=True)
    page.goto(f"{site.url}/admin/polar_sync/meter/?balance=below")
    take(page, folder, "meters")
    page.goto(f"{site.url}/admin/polar_sync/subscription/")
    take(page, folder, "subscriptions")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{site.url}/admin/polar_sync/customer/{customer}/change/")
    take(page, folder, "customer-phone")
    page.goto(f"{site.url}/admin/polar_sync/")
    take(page, folder, "overview-phone")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    polar = make_polar()
    for key in list(polar.customers)[40:43]:
        polar.faults.add(Fault(kind="malformed", customer=key, body={"id": "?"}, times=None))
    with tempfile.TemporaryDirectory() as work, serve_site(polar, Path(work)) as site:
        site.manage("polar_sync", check=False, POLAR_ACCESS_TOKEN=polar.create_token(["customers:read"]))
        polar.faults.clear()
        site.manage("polar_sync")
        site.run_code(RENAME)
        site.run_code(REMEMBER)
        with open_browser(Path(work) / "profile", viewport={"width": WIDTH, "height": HEIGHT}) as browser:
            page = browser.new_page()
            log_in(page, site)
            page.evaluate("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
            take_all(page, site, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
