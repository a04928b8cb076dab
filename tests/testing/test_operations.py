from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from polar_sync.testing import FakePolar
from tests.factories import build_meter, build_state, make_id
from tests.testing.asking import ask

NOBODY = "7d444840-9dc0-4111-8111-000000000000"
NOT_FOUND = {"error": "ResourceNotFound", "detail": "Not found"}
NO_ROUTE = {"detail": "Not Found"}


def create(polar: FakePolar, **fields: Any) -> Any:
    return ask(polar, "/v1/customers/", method="POST", body=fields)


@pytest.mark.parametrize("spelling", ["{}", "upper", "hex", "urn:uuid:{}"])
def test_customer_is_found_by_any_spelling_of_its_id(polar: FakePolar, spelling: str) -> None:
    own = polar.create_customer()["id"]
    spelled = {"upper": own.upper(), "hex": own.replace("-", "")}.get(spelling, spelling.format(own))
    assert ask(polar, f"/v1/customers/{spelled}").json["id"] == own


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/customers/{NOBODY}",
        f"/v1/customers/{NOBODY}/state",
        "/v1/customers/external/nobody",
        "/v1/customers/external/nobody/state",
    ],
)
def test_unknown_customer_is_not_found_with_the_body_that_says_so(polar: FakePolar, path: str) -> None:
    assert (ask(polar, path).status, ask(polar, path).json) == (404, NOT_FOUND)


def test_external_ids_are_decoded_and_compared_with_case(polar: FakePolar) -> None:
    odd = polar.create_customer(external_id="Us é?x=1&y#z%25")["id"]
    assert ask(polar, "/v1/customers/external/Us%20%C3%A9%3Fx%3D1%26y%23z%2525").json["id"] == odd
    assert ask(polar, "/v1/customers/external/us%20%C3%A9%3Fx%3D1%26y%23z%2525").json == NOT_FOUND


def test_external_id_with_a_slash_cannot_be_addressed(polar: FakePolar) -> None:
    polar.create_customer(external_id="org/team/1")
    for path in ("/v1/customers/external/org%2Fteam%2F1", "/v1/customers/external/org/team/1/state"):
        assert (ask(polar, path).status, ask(polar, path).json) == (404, NO_ROUTE)


def test_encoded_slash_is_a_slash_to_the_router(polar: FakePolar) -> None:
    customer = polar.create_customer(external_id="a")["id"]
    assert "active_meters" in ask(polar, "/v1/customers/external/a%2Fstate").json
    assert ask(polar, f"/v1/customers/{customer}%2Fstate").json["id"] == customer


def test_deleted_customer_is_gone_and_its_external_id_is_free(polar: FakePolar) -> None:
    old = create(polar, email="a@example.com", external_id="usr_1").json["id"]
    reply = ask(polar, "/v1/customers/external/usr_1", method="DELETE")
    assert (reply.status, reply.body) == (204, b"")
    for path in (f"/v1/customers/{old}", f"/v1/customers/{old}/state", "/v1/customers/external/usr_1"):
        assert ask(polar, path).json == NOT_FOUND
    new = create(polar, email="A@example.com", external_id="usr_1")
    assert new.status == 201
    assert ask(polar, "/v1/customers/external/usr_1/state").json["id"] == new.json["id"] != old
    assert polar.customers == [new.json["id"]]


def test_anonymizing_scrubs_personal_data_and_keeps_a_business_name(polar: FakePolar) -> None:
    address = {"country": "DE", "city": "Berlin"}
    person = create(polar, email="p@example.com", name="Person", billing_address=address).json["id"]
    tax_id = "DE136695976"
    business = create(polar, email="b@example.com", name="Firm", billing_address=address, tax_id=tax_id).json["id"]
    kept = create(polar, email="k@example.com", name="Kept").json["id"]
    for one in (person, business):
        assert ask(polar, f"/v1/customers/{one}?anonymize=true", method="DELETE").status == 204
    ask(polar, f"/v1/customers/{kept}?anonymize=false", method="DELETE")
    gone = polar.deleted_customers
    assert gone[person]["email"] != "p@example.com"
    assert gone[person]["name"] != "Person"
    assert gone[person]["billing_address"] is None
    assert gone[business]["name"] == "Firm"
    assert gone[kept]["name"] == "Kept"
    assert all(customer["deleted_at"] for customer in gone.values())


def test_unreadable_anonymize_is_422_and_deletes_nobody(polar: FakePolar) -> None:
    own = polar.create_customer()["id"]
    assert ask(polar, f"/v1/customers/{own}?anonymize=perhaps", method="DELETE").status == 422
    assert polar.customers == [own]


@pytest.mark.parametrize(
    ("country", "text", "pair"),
    [
        ("FR", "fr 619 545 060 77", ["FR61954506077", "eu_vat"]),
        ("DE", "136695976", ["DE136695976", "eu_vat"]),
        ("US", "91-1144442", ["911144442", "us_ein"]),
        ("CA", "123456789RT0001", ["123456789RT0001", "ca_gst_hst"]),
    ],
)
def test_tax_id_is_given_as_text_and_answered_as_a_pair(
    polar: FakePolar, country: str, text: str, pair: list[str]
) -> None:
    reply = create(polar, email="a@example.com", tax_id=text, billing_address={"country": country})
    assert reply.json["tax_id"] == pair


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"tax_id": "91", "billing_address": {"country": "US"}}, ["body", "tax_id"]),
        ({"tax_id": "911144442"}, ["body", "billing_address", "country"]),
        ({"organization_id": NOBODY}, ["body", "organization_id"]),
        ({"type": "team", "email": None}, ["body", "owner"]),
    ],
)
def test_values_that_polar_does_not_take(polar: FakePolar, fields: dict[str, Any], location: list[str]) -> None:
    reply = create(polar, **{"email": "a@example.com", **fields})
    assert (reply.status, reply.json["error"]) == (422, "PolarRequestValidationError")
    assert [detail["loc"] for detail in reply.json["detail"]] == [location]
    assert polar.customers == []


@pytest.mark.parametrize("body", [b"\xff", b"[" * 100_000])
def test_body_that_nobody_can_read_is_400(polar: FakePolar, body: bytes) -> None:
    reply = ask(polar, "/v1/customers/", method="POST", body=body)
    assert (reply.status, reply.json) == (400, {"detail": "There was an error parsing the body"})


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"", [("missing", ["body"])]),
        (b"[1]", [("model_attributes_type", ["body"])]),
        (b"null", [("missing", ["body"])]),
        ({}, [("missing", ["body", "individual", "email"])]),
        ({"email": None}, [("string_type", ["body", "individual", "email"])]),
        ({"email": "a@b"}, [("value_error", ["body", "individual", "email"])]),
        ({"email": "@b.c"}, [("value_error", ["body", "individual", "email"])]),
        ({"type": "robot", "email": "a@b.c"}, [("union_tag_invalid", ["body"])]),
        ({"type": "team", "name": "n" * 257}, [("string_too_long", ["body", "team", "name"])]),
        (
            {"email": "a@b.c", "billing_address": {}},
            [("missing", ["body", "individual", "billing_address", "country"])],
        ),
        (
            {"email": "a@b.c", "billing_address": {"country": "fr"}},
            [("enum", ["body", "individual", "billing_address", "country"])],
        ),
        ({"email": "a@b.c", "metadata": None}, [("dict_type", ["body", "individual", "metadata"])]),
        (
            {"email": "a@b.c", "metadata": {str(key): 1 for key in range(51)}},
            [("too_long", ["body", "individual", "metadata"])],
        ),
        (
            {"email": "a@b.c", "metadata": {"k" * 41: 1}},
            [("string_too_long", ["body", "individual", "metadata", "k" * 41, "[key]"])],
        ),
        (
            {"email": "a@b.c", "metadata": {"k": "v" * 501}},
            [
                ("string_too_long", ["body", "individual", "metadata", "k", "constrained-str"]),
                ("int_parsing", ["body", "individual", "metadata", "k", "int"]),
                ("float_parsing", ["body", "individual", "metadata", "k", "float"]),
                ("bool_parsing", ["body", "individual", "metadata", "k", "bool"]),
            ],
        ),
    ],
)
def test_bodies_that_do_not_fit_the_schema(polar: FakePolar, body: Any, errors: list[tuple[str, list[str]]]) -> None:
    reply = ask(polar, "/v1/customers/", method="POST", body=body)
    assert (reply.status, reply.json["error"]) == (422, "RequestValidationError")
    assert [(detail["type"], detail["loc"]) for detail in reply.json["detail"]] == errors
    assert polar.customers == []


def test_patch_replaces_metadata_whole_and_leaves_what_it_does_not_name(polar: FakePolar) -> None:
    own = create(polar, email="a@example.com", name="Old", metadata={"a": 1, "b": 2}, locale="fr").json["id"]
    changed = ask(polar, f"/v1/customers/{own}", method="PATCH", body={"metadata": {"c": 3}}).json
    assert (changed["metadata"], changed["name"], changed["locale"]) == ({"c": 3}, "Old", "fr")
    assert ask(polar, f"/v1/customers/{own}/state").json["metadata"] == {"c": 3}
    assert polar.customers == [own]


def test_own_billing_name_survives_a_new_name(polar: FakePolar) -> None:
    own = polar.create_customer(name="Old", billing_name="Billing Ltd")["id"]
    assert (
        ask(polar, f"/v1/customers/{own}", method="PATCH", body={"name": "New"}).json["billing_name"] == "Billing Ltd"
    )


def test_patch_without_a_change_does_not_move_modified_at(polar: FakePolar) -> None:
    own = create(polar, email="a@example.com", name="Same").json["id"]
    assert ask(polar, f"/v1/customers/{own}", method="PATCH", body={"name": "Same"}).json["modified_at"] is None
    assert ask(polar, f"/v1/customers/{own}", method="PATCH", body={"name": "New"}).json["modified_at"] is not None


def test_email_of_another_customer_cannot_be_taken_by_a_patch(polar: FakePolar) -> None:
    create(polar, email="taken@example.com")
    own = create(polar, email="own@example.com").json["id"]
    reply = ask(polar, f"/v1/customers/{own}", method="PATCH", body={"email": "TAKEN@example.com"})
    assert (reply.status, reply.json["detail"][0]["loc"]) == (422, ["body", "email"])
    kept = ask(polar, f"/v1/customers/{own}", method="PATCH", body={"email": "Own@EXAMPLE.com"})
    assert kept.json["email"] == "Own@example.com"


def test_external_id_can_be_set_once(polar: FakePolar) -> None:
    own = create(polar, email="own@example.com").json["id"]
    path = f"/v1/customers/{own}"
    assert ask(polar, path, method="PATCH", body={"external_id": "usr_1"}).json["external_id"] == "usr_1"
    assert ask(polar, path, method="PATCH", body={"external_id": "usr_1"}).status == 200
    assert ask(polar, path, method="PATCH", body={"external_id": "usr_2"}).status == 422
    assert ask(polar, "/v1/customers/external/usr_1").json["id"] == own


def test_team_never_becomes_an_individual(polar: FakePolar) -> None:
    own = create(polar, email="own@example.com").json["id"]
    assert ask(polar, f"/v1/customers/{own}", method="PATCH", body={"type": "team"}).json["type"] == "team"
    assert ask(polar, f"/v1/customers/{own}", method="PATCH", body={"type": "individual"}).status == 422


def test_balance_is_served_only_by_an_old_server(polar: FakePolar) -> None:
    own = polar.create_customer()["id"]
    assert (ask(polar, f"/v1/customers/{own}/balance").json) == NO_ROUTE
    polar.has_balance = True
    polar.set_balance(own, -1250)
    assert ask(polar, f"/v1/customers/{own}/balance").json == {"balance": -1250, "currency": "usd"}
    assert ask(polar, f"/v1/customers/{NOBODY}/balance").json == NOT_FOUND


def test_portal_shows_the_customer_of_the_session_and_ends_with_it() -> None:
    times = [datetime(2026, 1, 1, tzinfo=UTC)]
    polar = FakePolar(seed=1, clock=lambda: times[-1])
    own = polar.create_customer(name="Ada", external_id="usr_1")["id"]
    polar.create_customer(name="Bob")
    session = polar.create_session(own)["token"]
    me = ask(polar, "/v1/customer-portal/customers/me", token=session).json
    assert (me["id"], me["oauth_accounts"]) == (own, {})
    assert me.keys().isdisjoint({"organization_id", "external_id", "metadata", "avatar_url", "deleted_at"})
    assert ask(polar, "/v1/customers/", token=session).status == 401
    times.append(times[-1] + timedelta(minutes=61))
    assert ask(polar, "/v1/customer-portal/customers/me", token=session).json["error"] == "invalid_token"


def test_deleting_a_customer_ends_its_sessions(polar: FakePolar) -> None:
    own = polar.create_customer()["id"]
    state, session = polar.get_state(own), polar.create_session(own)["token"]
    polar.delete_customer(own)
    assert ask(polar, "/v1/customer-portal/customers/me", token=session).status == 401
    polar.put_state(state)
    assert ask(polar, "/v1/customer-portal/customers/me", token=session).status == 401


def test_export_is_a_csv_in_the_order_of_creation(polar: FakePolar) -> None:
    polar.create_customer(created_at="2026-05-01T00:00:00Z", name='A "quoted", name\nof two lines', metadata={"a": "é"})
    polar.create_customer(created_at="2026-01-01T00:00:00.25Z", tax_id=["123", "us_ein"], external_id="usr_1")
    reply = ask(polar, "/v1/customers/export")
    assert reply.headers["content-disposition"] == 'attachment; filename="polar-customers.csv"'
    assert "content-length" not in reply.headers
    rows = list(csv.DictReader(io.StringIO(reply.body.decode(), newline="")))
    assert [row["Created At"] for row in rows] == ["2026-05-01T00:00:00+00:00", "2026-01-01T00:00:00.250000+00:00"]
    assert rows[0]["Name"] == 'A "quoted", name\nof two lines'
    assert rows[0]["Metadata"] == r'{"a": "\u00e9"}'
    assert rows[1]["Tax ID"] == "('123', <TaxIDFormat.us_ein: 'us_ein'>)"
    assert rows[1]["Metadata"] == ""
    assert ask(polar, f"/v1/customers/export?organization_id={NOBODY}").body.count(b"\r\n") == 1
    assert ask(polar, "/v1/customers/export?organization_id=nope").status == 422


def test_arrays_of_a_state_come_in_another_order_when_told_so() -> None:
    polar = FakePolar.generate(seed=1, customers=60, shuffle_arrays=True)
    own = max(polar.customers, key=lambda one: len(polar.get_state(one)["granted_benefits"]))
    answers = [ask(polar, f"/v1/customers/{own}/state").json for _ in range(6)]
    orders = {tuple(grant["id"] for grant in answer["granted_benefits"]) for answer in answers}
    assert len(orders) > 1
    assert len({frozenset(order) for order in orders}) == 1
    assert len(next(iter(orders))) == 8


def test_meters_of_a_state_come_oldest_first_however_it_is_shuffled() -> None:
    polar = FakePolar(seed=1, shuffle_arrays=True)
    created, put = polar.create_customer()["id"], polar.put_state(build_state("a"))
    for own in (created, put):
        for second in ("05.5", "05", "04", "06"):
            polar.add_customer_meter(own, build_meter(second, created_at=f"2026-01-01T00:00:{second}Z"))
        for _ in range(3):
            meters = ask(polar, f"/v1/customers/{own}/state").json["active_meters"]
            assert [meter["id"] for meter in meters] == [make_id(f"meter {one}") for one in ("04", "05", "05.5", "06")]
