"""Text that means harm, everywhere where text can be: it shows, and does nothing."""

import json
import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from polar_sync.admin.actions import note
from polar_sync.admin.formatting import clean, escape_json, make_visible, show
from polar_sync.models import (
    Benefit,
    Customer,
    MeterDefinition,
    Organization,
    Product,
    SyncFailure,
    SyncRun,
    WebhookDelivery,
)
from tests import factories
from tests.factories import apply_states, at, build_full_state, make_id, make_uuid, read_at

TEXTS = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"' onmouseover=alert(1) x='",
    "override": "evil\u202egnp.exe\u2066",
    "long": "W" * 10_000,
    "emoji": "👩\u200d🔬 Zoë",
    "nul": "a\0b\x1b[31m",
    "surrogate": "\ud800",
    "template": "{{ 7 }}{% url 'x' %}",
    "percent": "%(number)s %s",
}
OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
MAX_PAGE = 300_000
pytestmark = pytest.mark.django_db


class Page(HTMLParser):
    """Which scripts, handlers and styles a page really holds, and its texts."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.inline_scripts = 0
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.attributes |= found.keys()
        if tag == "script" and not found.get("src"):
            self.inline_scripts += 1
        self.addresses += [found[name] or "" for name in ("src", "href") if name in found]


def check(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, url
    text = answer.content.decode()
    page = Page(text)
    assert page.inline_scripts == 0, url
    assert not [name for name in page.attributes if name.startswith("on") or name == "style"], url
    outside = {one for one in page.addresses if one.startswith(("http:", "https:", "//", "javascript:"))}
    assert outside <= {f"https://polar.sh/to/dashboard/customers/{make_id('one')}"}, url
    harmful = re.search(f".{{0,80}}[{OVERRIDES}]", text)
    assert harmful is None, f"{url}: {harmful[0]!r}"
    assert "\0" not in text
    assert len(text) < MAX_PAGE, f"{url} has {len(text)} characters"
    return text


@pytest.fixture(params=list(TEXTS.values()), ids=list(TEXTS))
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build_hostile(text: str) -> dict[str, object]:
    state = build_full_state("one")
    state |= dict.fromkeys(("name", "email", "external_id", "billing_name", "locale", "type", "avatar_url"), text)
    state |= {
        "metadata": {text: text},
        "billing_address": {"country": text, "city": text},
        "tax_id": [text, text],
        text: text,
    }
    for array in factories.CHILD_ARRAYS:
        for one in state[array]:
            for field in ("status", "currency", "recurring_interval", "benefit_type"):
                one[field] = text
            one["properties"] = one["metadata"] = one["benefit_metadata"] = {text: text}
    return state


def test_hostile_text_shows_harmlessly_on_every_page(operator: Client, organization: Organization, text: str) -> None:
    apply_states(organization, build_hostile(text), interval=read_at(0))
    stored = text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    for model, name in ((Product, "product"), (Benefit, "benefit"), (MeterDefinition, "meter")):
        model.objects.create(pk=make_uuid(name), organization=organization, name=stored)
    Organization.objects.update(name=stored[:200])
    run = SyncRun.objects.create(
        organization=organization, status="partial", reason=stored[:50], detail=stored, failed=2
    )
    SyncFailure.objects.create(run=run, customer_id=make_id("one"), reason=stored)
    SyncFailure.objects.create(run=run, customer_id=stored[:100], reason=stored)
    delivery = WebhookDelivery.objects.create(
        organization=organization,
        webhook_id=stored[:200],
        type=stored[:100],
        timestamp=at(0),
        customer_id=make_uuid("one"),
        payload=json.dumps({"data": build_hostile(text)}),
        status="failed",
        reason=stored,
    )
    pages = (
        "",
        "customer/",
        f"customer/{make_id('one')}/change/",
        "subscription/",
        "benefitgrant/",
        "meter/",
        "product/",
        f"product/{make_id('product')}/change/",
        "benefit/",
        "meterdefinition/",
        "syncrun/",
        f"syncrun/{run.pk}/change/",
        "organization/",
        f"organization/{organization.pk}/change/",
        "webhookdelivery/",
        f"webhookdelivery/{delivery.pk}/change/",
    )
    for page in pages:
        check(operator, f"/admin/polar_sync/{page}")
    for kind in ("customers", "subscriptions", "meters"):
        b"".join(operator.get(f"/admin/polar_sync/customer/export/{kind}.csv").streaming_content)  # type: ignore[attr-defined]


def test_hostile_searches_and_filters_are_answered(operator: Client, organization: Organization, text: str) -> None:
    apply_states(organization, build_hostile(text), interval=read_at(0))
    for name in ("q", "country", "status", "product", "benefit_type", "organization", "type", "observed", "active"):
        answer = operator.get("/admin/polar_sync/customer/", {name: text.encode("utf-8", "surrogatepass")})
        assert answer.status_code == 200, name
        assert Page(answer.content.decode()).inline_scripts == 0
    for name in ("p", "o", "created_at__year", "created_at__month", "e", "nonsense", "id__exact"):
        assert operator.get("/admin/polar_sync/customer/", {name: text.encode("utf-8", "replace")}).status_code in {
            200,
            302,
        }


def test_history_of_a_hostile_customer_is_harmless(
    operator: Client, organization: Organization, text: str, rf: RequestFactory
) -> None:
    apply_states(organization, build_hostile(text), interval=read_at(0))
    request = rf.post("/")
    request.user = User.objects.get(pk=operator.session["_auth_user_id"])
    note(request, Customer.objects.all(), "Refresh from Polar")
    page = check(operator, f"/admin/polar_sync/customer/{make_id('one')}/history/")
    assert "Refresh from Polar" in page
    check(operator, "/admin/")


def test_a_state_nested_deeply_is_shown(operator: Client, organization: Organization) -> None:
    nested: object = "end"
    for _ in range(480):
        nested = [nested]
    apply_states(organization, build_full_state("one") | {"further": nested}, interval=read_at(0))
    answer = operator.get(f"/admin/polar_sync/customer/{make_id('one')}/change/")
    assert answer.status_code == 200


def test_harmful_characters_are_spelled_out_and_others_kept() -> None:
    assert make_visible("a\u202eb\0") == "a⟨202E⟩b⟨0000⟩"
    assert make_visible("👩\u200d🔬 é שלום\n") == "👩\u200d🔬 é שלום\n"
    assert escape_json('"\u202e"') == '"\\u202e"'
    assert clean("W" * 100, length=10) == "W" * 9 + "…"
    assert show("<b>") == "<bdi>&lt;b&gt;</bdi>"
    assert "polar-none" in show(None)
