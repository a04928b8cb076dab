from __future__ import annotations

from typing import Any

import pytest

from polar_sync.testing import FakePolar
from tests.testing.asking import ask, list_items
from tests.testing.test_events import STATE, listen, take, take_types

NOBODY = "7d444840-9dc0-4111-8111-000000000000"


@pytest.fixture
def own(polar: FakePolar) -> str:
    customer: str = polar.create_customer()["id"]
    listen(polar)
    return customer


def find_benefit(polar: FakePolar, kind: str) -> dict[str, Any]:
    return next(one for one in polar.benefits if one["type"] == kind)


def get_state(polar: FakePolar, own: str) -> Any:
    return ask(polar, f"/v1/customers/{own}/state").json


def list_grants(polar: FakePolar, own: str) -> list[Any]:
    return list_items(polar, "/v1/benefit-grants/", [own])


def test_granted_benefit_is_in_the_state_and_in_the_list(polar: FakePolar, own: str) -> None:
    benefit = find_benefit(polar, "license_keys")
    grant = polar.grant(own, benefit)
    assert take_types(polar) == ["benefit_grant.created", STATE]
    (shown,) = get_state(polar, own)["granted_benefits"]
    assert (shown["benefit_type"], shown["benefit_metadata"]) == ("license_keys", {"seats": 5})
    assert shown["properties"].keys() == {"license_key_id", "display_key"}
    assert shown.keys().isdisjoint({"order_id", "member_id", "subscription_id", "is_granted"})
    (listed,) = list_grants(polar, own)
    assert listed["id"] == shown["id"] == grant["id"]
    assert (listed["subscription_id"], listed["order_id"]) == (None, grant["order_id"])
    assert listed["order_id"] is not None


def test_fields_of_a_grant_may_be_given(polar: FakePolar, own: str) -> None:
    grant = polar.grant(own, find_benefit(polar, "discord")["id"], properties={"a": 1}, member_id=NOBODY)
    told = take(polar)[0]["data"]
    assert (told["properties"], told["member_id"], told["previous_properties"]) == ({"a": 1}, NOBODY, {})
    assert (grant["properties"], grant["member_id"]) == ({"a": 1}, NOBODY)


def test_grant_that_is_there_is_neither_made_nor_told_again(polar: FakePolar, own: str) -> None:
    benefit = polar.benefits[0]
    order = polar.grant(own, benefit)["order_id"]
    take(polar)
    polar.grant(own, benefit, order_id=order)
    assert take(polar) == []
    assert len(list_grants(polar, own)) == 1


def test_revoked_grant_leaves_the_state_and_stays_in_the_list(polar: FakePolar, own: str) -> None:
    grant = polar.grant(own, find_benefit(polar, "license_keys"))
    take(polar)
    revoked = polar.revoke_grant(grant)
    told = take(polar)
    assert [one["type"] for one in told] == ["benefit_grant.revoked", STATE]
    assert told[0]["data"]["previous_properties"] == grant["properties"]
    (listed,) = list_grants(polar, own)
    assert (listed["is_granted"], listed["is_revoked"], listed["granted_at"]) == (False, True, None)
    assert listed["revoked_at"] == revoked["revoked_at"] is not None
    assert listed["order_id"] == grant["order_id"]
    assert get_state(polar, own)["granted_benefits"] == told[1]["data"]["granted_benefits"] == []


def test_benefit_given_again_uses_the_same_row(polar: FakePolar, own: str) -> None:
    first = polar.grant(own, polar.benefits[0])
    polar.revoke_grant(first["id"])
    again = polar.grant(own, polar.benefits[0])
    assert (again["id"], again["created_at"]) == (first["id"], first["created_at"])
    assert (first["modified_at"], again["revoked_at"], again["is_revoked"]) == (None, None, False)
    assert again["modified_at"] is not None
    assert len(list_grants(polar, own)) == 1
    assert [one["id"] for one in get_state(polar, own)["granted_benefits"]] == [first["id"]]


def test_failed_grant_is_told_as_created_and_is_not_granted(polar: FakePolar, own: str) -> None:
    benefit = find_benefit(polar, "discord")
    failed = polar.fail_grant(own, benefit, message="Connect your account.")
    told = take(polar)
    assert [one["type"] for one in told] == ["benefit_grant.created", STATE]
    data = told[0]["data"]
    assert (data["is_granted"], data["granted_at"], data["is_revoked"]) == (False, None, False)
    assert data["error"]["message"] == "Connect your account."
    assert told[1]["data"]["granted_benefits"] == []
    granted = polar.grant(own, benefit)
    assert granted["id"] == failed["id"]
    assert (granted["error"], granted["is_granted"]) == (None, True)


def test_updated_grant_tells_what_its_properties_were(polar: FakePolar, own: str) -> None:
    grant = polar.grant(own, polar.benefits[0], properties={"a": 1})
    take(polar)
    polar.update_grant(grant, properties={"a": 2})
    told = take(polar)
    assert [one["type"] for one in told] == ["benefit_grant.updated", STATE]
    assert (told[0]["data"]["previous_properties"], told[0]["data"]["properties"]) == ({"a": 1}, {"a": 2})
    assert told[0]["data"]["modified_at"] is not None
    assert get_state(polar, own)["granted_benefits"][0]["properties"] == {"a": 2}


def test_generated_grants_can_be_revoked_by_what_the_list_shows() -> None:
    polar = FakePolar.generate(seed=1, customers=30)
    listed = list_items(polar, "/v1/benefit-grants/", query="is_granted=true&limit=100")
    for one in listed:
        polar.revoke_grant(one)
    assert list_items(polar, "/v1/benefit-grants/", query="is_granted=true&limit=100") == []
    after = {one["id"]: one for one in list_items(polar, "/v1/benefit-grants/", query="limit=100")}
    for one in listed:
        assert after[one["id"]]["subscription_id"] == one["subscription_id"]
        assert after[one["id"]]["order_id"] == one["order_id"]
        assert after[one["id"]]["benefit"] == one["benefit"] or one["benefit"]["type"] == "discord"


def test_unknown_grants_benefits_and_customers_are_key_errors(polar: FakePolar, own: str) -> None:
    calls: list[Any] = [
        lambda: polar.revoke_grant(NOBODY),
        lambda: polar.update_grant({"id": NOBODY}),
        lambda: polar.grant(own, NOBODY),
        lambda: polar.fail_grant(own, NOBODY),
        lambda: polar.grant(NOBODY, polar.benefits[0]),
    ]
    for call in calls:
        with pytest.raises(KeyError, match=NOBODY):
            call()
    assert list_grants(polar, own) == []


def test_grants_given_and_given_back_are_copies(polar: FakePolar, own: str) -> None:
    properties = {"a": [1]}
    polar.grant(own, polar.benefits[0], properties=properties)["properties"]["a"].append(2)
    properties["a"].append(3)
    assert get_state(polar, own)["granted_benefits"][0]["properties"] == {"a": [1]}
