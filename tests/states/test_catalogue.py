from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings

from polar_sync import sync
from polar_sync.conf import settings as polar_settings
from polar_sync.models import Customer, Product
from polar_sync.states import Catalogue
from polar_sync.testing import FakePolar
from tests.states.conftest import Run


def show(catalogue: Catalogue, product: dict[str, Any]) -> None:
    catalogue.add("subscription", [{"product": dict(product), "meters": None}])


@pytest.fixture
def product() -> dict[str, Any]:
    return {"id": str(uuid4()), "name": "Pro"}


def test_what_is_kept_is_no_news_until_it_is_shown_otherwise(product: dict[str, Any]) -> None:
    catalogue = Catalogue().keep_for(1)
    show(catalogue, product)
    found = catalogue.get_news()
    assert list(found.values()) == [product]
    assert catalogue.get_news() == found, "a transaction that failed is done again"
    catalogue.confirm(found)
    show(catalogue, product)
    assert catalogue.get_news() == {}
    show(catalogue, {**product, "name": "Pro, yearly"})
    assert [entry["name"] for entry in catalogue.get_news().values()] == ["Pro, yearly"]


def test_what_was_found_meanwhile_is_not_confirmed_with_the_rest(product: dict[str, Any]) -> None:
    catalogue = Catalogue().keep_for(1)
    show(catalogue, product)
    found = catalogue.get_news()
    show(catalogue, {**product, "name": "Renamed meanwhile"})
    catalogue.confirm(found)
    assert [entry["name"] for entry in catalogue.get_news().values()] == ["Renamed meanwhile"]


def test_another_run_writes_again_what_somebody_removed(product: dict[str, Any]) -> None:
    catalogue = Catalogue().keep_for(1)
    show(catalogue, product)
    catalogue.confirm(catalogue.get_news())
    show(catalogue.keep_for(1), product)
    assert catalogue.get_news() == {}
    show(catalogue.keep_for(2), product)
    assert list(catalogue.get_news().values()) == [product]


def test_objects_without_an_id_are_left_out() -> None:
    catalogue = Catalogue()
    catalogue.add("subscription", [{"product": None}, {"product": {"name": "x"}}, {"meters": [None, {"meter": 5}]}])
    catalogue.add("benefit_grant", [{"benefit": []}, {}])
    catalogue.add("meter", [{"meter": {"id": 5}}])
    assert catalogue.get_news() == {}


@pytest.mark.django_db(transaction=True)
def test_names_that_were_removed_come_back_with_the_next_run(polar: FakePolar, run: Run) -> None:
    run()
    names = set(Product.objects.values_list("name", flat=True))
    Product.objects.all().delete()
    run()
    assert set(Product.objects.values_list("name", flat=True)) == names


@pytest.mark.django_db(transaction=True)
def test_each_catalogue_is_read_once_a_run_however_often_its_first_page_is_claimed(
    polar: FakePolar, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polar_sync.client.rate_limit.WINDOW", 0.05)
    entry = {**settings.POLAR_SYNC["ORGANIZATIONS"]["default"], "REQUESTS_PER_MINUTE": 2}
    settings.POLAR_SYNC = {"ORGANIZATIONS": {"default": entry}, "STATE_SOURCE": "per_customer"}
    organization = polar_settings.get_organization("default")
    with sync.connect(organization, max_wait=0.0) as connection:
        begun = sync.begin_run(organization)
        for _ in range(100):
            time.sleep(sync.take_step(begun.pk, connection).wait)
            if Customer.objects.count() > 10:
                break
    assert [polar.counts[f"{kind}:list"] for kind in ("customers", "products", "benefits", "meters")] == [1, 1, 1, 1]
    assert Product.objects.exists()
