"""The pages in other languages: nothing English is left on them, and Arabic runs from right to left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.utils import timezone, translation

from polar_sync.admin.display_names import EVENT_TYPES
from polar_sync.admin.formatting import name_customers
from polar_sync.models import Organization, SyncFailure, SyncRun, Verification, WebhookDelivery, WebhookFeed
from tests import factories
from tests.catalogues import LANGUAGES, find_catalogue, get_ids, get_strings, list_messages, read_catalogue
from tests.factories import apply_states, build_full_state, create_delivery, make_id, read_at

ROOT = "/admin/polar_sync"
SHORTEST = 13
"""Characters of English that cannot be in a page by chance."""
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[a-z%]")
pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


class TextReader(HTMLParser):
    """What people read or hear of a page: texts, tooltips and labels, without JSON and the style sheets."""

    silent = frozenset({"script", "style", "pre"})
    spoken = frozenset({"title", "aria-label", "placeholder", "data-label", "data-lost", "data-late"})

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.depth += tag in self.silent
        self.texts += [text for name, text in attrs if name in self.spoken and text]

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag in self.silent

    def handle_data(self, data: str) -> None:
        if not self.depth:
            self.texts.append(data)


@pytest.fixture
def operator(make_client: Callable[..., Client]) -> Client:
    """Somebody who sees every button."""
    return make_client("sync_organization", "export_customers", "process_webhookdelivery")


@pytest.fixture
def paths(organization: Organization, names: None) -> list[str]:
    """Pages that show as much as there can be of what an app like this tells."""
    apply_states(organization, *(build_full_state(number, children=9) for number in range(3)), interval=read_at(0))
    factories.apply_absences(organization, 2, interval=read_at(1))
    now = timezone.now()
    counts = {"created": 5, "updated": 4, "deleted": 1, "failed": 1, "pass_total": 12, "throttled_seconds": 90.0}
    run = SyncRun.objects.create(organization=organization, status="partial", reason="customers_failed", **counts)
    SyncFailure.objects.create(run=run, customer_id=make_id(1), reason="?")
    SyncRun.objects.create(organization=organization, status="failed", reason="mass_deletion", finished_at=now)
    Verification.objects.create(
        organization=organization, started_at=now, finished_at=now, checked=9, differing=2, repaired=1, failed=1
    )
    Organization.objects.update(complete_as_of=now)
    problem = {"problem": "?", "gap_since": now, "gap_until": now + timedelta(days=1)}
    WebhookFeed.objects.create(organization=organization, is_enabled=False, failed_read_until=now, **problem)
    deliveries = [
        *(create_delivery(organization, 0, webhook_id=str(number)) for number in range(11)),
        *(create_delivery(organization, one, status=one, webhook_id=one) for one in WebhookDelivery.Status),
        create_delivery(organization, "waits", next_attempt_at=now + timedelta(hours=2), via="feed"),
        create_delivery(organization, "scrubbed", scrubbed_at=now, payload=""),
        create_delivery(organization, "empty", payload=""),
        create_delivery(organization, "broken", payload="?"),
    ]
    lists = ("customer", "subscription", "benefitgrant", "meter", "product", "organization", "syncrun")
    pages = (
        *(f"customer/{make_id(0)}/change", f"customer/{make_id(2)}/change", f"syncrun/{run.pk}/change"),
        *("webhookdelivery", *(f"webhookdelivery/{one.pk}/change" for one in deliveries[10:])),
    )
    return [f"{ROOT}/", *(f"{ROOT}/{path}/" for path in (*lists, *pages, f"organization/{organization.pk}/change"))]


def read(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def list_english(language: str) -> Iterator[str]:
    """Pieces of our own texts that the language has other words for."""
    for message in list_messages(read_catalogue(find_catalogue("polar_sync", language), language)):
        translated = " ".join(get_strings(message))
        for text in get_ids(message):
            pieces = (piece.strip() for piece in PLACEHOLDER.split(text))
            yield from (piece for piece in pieces if len(piece) >= SHORTEST and piece not in translated)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_english_is_left_on_the_pages(operator: Client, paths: list[str], language: str) -> None:
    english = [re.compile(rf"\b{re.escape(piece)}\b", re.IGNORECASE) for piece in list_english(language)]
    assert len(english) > 200
    for path in paths:
        with translation.override(language):
            page = read(operator, path)
        assert f'<html lang="{language}" dir="ltr"' in page
        reader = TextReader()
        reader.feed(page)
        # Polar's own words for its events are the same in every language.
        text = " ".join(" ".join(one for one in reader.texts if one not in EVENT_TYPES).split())
        assert [piece.pattern for piece in english if piece.search(text)] == [], path


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("de", ["Kunden", "monatlich wiederkehrender Umsatz", "Zähler unter null", "Letzte Läufe"]),
        ("fr", ["clients", "revenu mensuel récurrent", "compteur inférieur à zéro", "Dernières exécutions"]),
    ],
)
def test_overview_speaks_the_language(operator: Client, paths: list[str], language: str, texts: list[str]) -> None:
    with translation.override(language):
        page = read(operator, f"{ROOT}/")
    assert [text for text in texts if text not in page] == []


@pytest.mark.parametrize(
    ("language", "number", "text"),
    [
        ("de", 1, "vor 1 Tag"),
        ("de", 3, "vor 3 Tagen"),
        ("fr", 0, "client"),
        ("fr", 1, "il y a 1 jour"),
        ("fr", 3, "il y a 3 jours"),
    ],
)
def test_plurals_follow_the_language(language: str, number: int, text: str) -> None:
    with translation.override(language):
        days = translation.ngettext("%(number)d day ago", "%(number)d days ago", number) % {"number": number}
        assert (days if number else name_customers(0)) == text


def test_arabic_pages_run_from_right_to_left(operator: Client, organization: Organization) -> None:
    apply_states(organization, build_full_state("one"), interval=read_at(0))
    for path in ("", "customer/", f"customer/{make_id('one')}/change/", "meter/"):
        with translation.override("ar"):
            assert '<html lang="ar" dir="rtl"' in read(operator, f"{ROOT}/{path}")


@pytest.mark.parametrize(("language", "text"), [("en", "Cancel"), ("de", "Abbrechen")])
def test_history_is_told_in_the_language_of_the_reader(
    operator: Client, organization: Organization, language: str, text: str
) -> None:
    run = SyncRun.objects.create(organization=organization)
    with translation.override("fr"):
        operator.post(f"{ROOT}/syncrun/{run.pk}/cancel/")
    with translation.override(language):
        assert f"<td>{text}</td>" in read(operator, f"{ROOT}/syncrun/{run.pk}/history/")
