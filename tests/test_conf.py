"""The typed settings: defaults, live reading, and errors that help without showing a secret."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from polar_sync.conf import OrganizationSettings, SettingError
from polar_sync.conf import settings as polar_settings
from polar_sync.exceptions import ConfigurationError
from polar_sync.tokens import Token
from tests.exposure import expose

TOKEN = "polar_oat_for_tests_only_0123456789"
SECRET = "whsec_for_tests_only_0123456789"
OLD_SECRET = "whsec_replaced_0123456789"


def configure(settings: Settings, **organization: object) -> None:
    settings.POLAR_SYNC = {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": TOKEN, **organization}}}


def test_only_a_token_is_needed(settings: Settings) -> None:
    configure(settings)
    assert polar_settings.get_organization("shop") == OrganizationSettings(
        name="shop", access_token=Token(TOKEN), server="production", organization_id=None, requests_per_minute=500
    )
    assert polar_settings.concurrency == 4
    assert polar_settings.workers == 4
    assert polar_settings.throttle_storage == "memory://"
    assert polar_settings.mass_deletion_share == 0.2
    assert polar_settings.lease_seconds == 60
    assert polar_settings.run_max_age == timedelta(hours=24)
    assert polar_settings.connect_timeout == 5.0
    assert polar_settings.read_timeout == 30.0
    assert polar_settings.deleted_customers == "keep"
    assert polar_settings.deleted_customers_after == timedelta(days=30)
    assert polar_settings.keep_runs == timedelta(days=90)
    assert polar_settings.keep_statistics == timedelta(days=400)
    assert polar_settings.webhook_tolerance == timedelta(seconds=300)
    assert polar_settings.webhook_max_body_bytes == 1_048_576
    assert polar_settings.settle_seconds == 300
    assert polar_settings.keep_deliveries == timedelta(days=90)
    assert polar_settings.enable_webhook_endpoint is False


def test_settings_are_read_at_each_access(settings: Settings) -> None:
    configure(settings)
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "CONCURRENCY": 7, "RUN_MAX_AGE_HOURS": 0.5, "KEEP_RUNS_DAYS": 0}
    assert polar_settings.concurrency == 7
    assert polar_settings.run_max_age == timedelta(minutes=30)
    assert polar_settings.keep_runs == timedelta(0)
    settings.POLAR_SYNC["CONCURRENCY"] = 8
    assert polar_settings.concurrency == 8


def test_organizations_keep_their_order_and_cannot_be_changed(settings: Settings) -> None:
    names = ["live", "test", "another"]
    settings.POLAR_SYNC = {"ORGANIZATIONS": {name: {"ACCESS_TOKEN": f"{TOKEN}_{name}"} for name in names}}
    assert list(polar_settings.organizations) == names
    with pytest.raises(TypeError):
        polar_settings.organizations["live"] = polar_settings.organizations["test"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("server", "requests", "expected"),
    [
        ("production", None, 500),
        ("sandbox", None, 100),
        ("https://polar.test", None, 500),
        ("production", 1, 1),
        ("sandbox", 250, 250),
        ("production", 1.0, 500),
        ("production", 0.25, 125),
        ("sandbox", 0.25, 25),
        ("sandbox", 0.001, 1),
    ],
)
def test_budget_is_a_number_or_a_share_of_the_limit(
    settings: Settings, server: str, requests: object, expected: int
) -> None:
    configure(settings, SERVER=server, REQUESTS_PER_MINUTE=requests)
    assert polar_settings.get_organization("shop").requests_per_minute == expected


@pytest.mark.parametrize("server", ["http://127.0.0.1:1234", "https://polar.test/base/"])
def test_server_can_be_a_url(settings: Settings, server: str) -> None:
    configure(settings, SERVER=server)
    assert polar_settings.get_organization("shop").server == server.rstrip("/")


def test_organization_id_is_a_uuid_or_its_text(settings: Settings) -> None:
    expected = uuid.UUID("1dbfc517-0bbf-4301-9ba8-555ca42b9737")
    for value in (expected, str(expected), str(expected).upper()):
        configure(settings, ORGANIZATION_ID=value)
        assert polar_settings.get_organization("shop").organization_id == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, []),
        ([], []),
        (SECRET, [SECRET]),
        (Token(SECRET), [SECRET]),
        ([SECRET, Token(OLD_SECRET)], [SECRET, OLD_SECRET]),
        ((SECRET,), [SECRET]),
    ],
)
def test_webhook_secrets_are_one_or_several_and_masked(settings: Settings, given: object, expected: list[str]) -> None:
    configure(settings, WEBHOOK_SECRETS=given)
    organization = polar_settings.get_organization("shop")
    assert organization.webhook_secrets == tuple(map(Token, expected))
    assert SECRET not in f"{organization!r} {polar_settings.organizations}"


def test_webhook_endpoint_id_is_a_uuid_or_its_text(settings: Settings) -> None:
    expected = uuid.UUID("1dbfc517-0bbf-4301-9ba8-555ca42b9737")
    for value in (expected, str(expected)):
        configure(settings, WEBHOOK_ENDPOINT_ID=value)
        assert polar_settings.get_organization("shop").webhook_endpoint_id == expected
    configure(settings, WEBHOOK_ENDPOINT_ID="")
    assert polar_settings.get_organization("shop").webhook_endpoint_id is None


def test_webhook_settings_are_read_in_their_units(settings: Settings) -> None:
    settings.POLAR_SYNC = {
        "WEBHOOK_TOLERANCE_SECONDS": 60,
        "WEBHOOK_MAX_BODY_BYTES": 2048,
        "SETTLE_SECONDS": 0,
        "KEEP_DELIVERIES_DAYS": 1,
        "ENABLE_WEBHOOK_ENDPOINT": True,
    }
    assert polar_settings.webhook_tolerance == timedelta(minutes=1)
    assert polar_settings.webhook_max_body_bytes == 2048
    assert polar_settings.settle_seconds == 0
    assert polar_settings.keep_deliveries == timedelta(days=1)
    assert polar_settings.enable_webhook_endpoint is True


def test_organizations_of_one_token_share_the_smallest_of_their_budgets(settings: Settings) -> None:
    settings.POLAR_SYNC = {
        "ORGANIZATIONS": {
            "alone": {"ACCESS_TOKEN": f"{TOKEN}_x"},
            "shop": {"ACCESS_TOKEN": TOKEN, "ORGANIZATION_ID": str(uuid.uuid4())},
            "elsewhere": {"ACCESS_TOKEN": TOKEN, "SERVER": "sandbox"},
            "store": {"ACCESS_TOKEN": TOKEN, "ORGANIZATION_ID": str(uuid.uuid4()), "REQUESTS_PER_MINUTE": 200},
        }
    }
    found = {
        name: (each.shares_budget_of, each.requests_per_minute) for name, each in polar_settings.organizations.items()
    }
    assert found == {"alone": (None, 500), "shop": ("shop", 200), "elsewhere": (None, 100), "store": ("shop", 200)}


def test_token_is_not_in_the_repr(settings: Settings) -> None:
    configure(settings)
    assert TOKEN not in repr(polar_settings.organizations)


def test_unknown_organization_names_the_nearest(settings: Settings) -> None:
    configure(settings)
    with pytest.raises(ConfigurationError, match=r'no organization "shpo"; did you mean "shop"\?'):
        polar_settings.get_organization("shpo")


def test_unknown_organization_far_from_all_names_them(settings: Settings) -> None:
    configure(settings)
    with pytest.raises(ConfigurationError, match=r'no organization "xyz"; known are "shop"\.'):
        polar_settings.get_organization("xyz")


def test_unknown_organization_among_none_says_so(settings: Settings) -> None:
    settings.POLAR_SYNC = {}
    assert polar_settings.organizations == {}
    with pytest.raises(ConfigurationError, match='no organization "shop"; it is empty'):
        polar_settings.get_organization("shop")


def test_unknown_key_is_an_error_of_every_access(settings: Settings) -> None:
    settings.POLAR_SYNC = {"ORGANIZATION": {}}
    with pytest.raises(ConfigurationError, match=r'no key "ORGANIZATION"; did you mean "ORGANIZATIONS"\?'):
        _ = polar_settings.concurrency


def test_wrong_value_names_key_value_and_what_is_allowed(settings: Settings) -> None:
    settings.POLAR_SYNC = {"CONCURRENCY": 0}
    with pytest.raises(ConfigurationError, match=r'POLAR_SYNC\["CONCURRENCY"\] is 0; it must be .* from 1 to 64'):
        _ = polar_settings.concurrency


@pytest.mark.parametrize(
    "given",
    [
        TOKEN,
        {TOKEN: {}},
        {"ORGANIZATIONS": TOKEN},
        {"ORGANIZATIONS": {TOKEN: {}}},
        {"ORGANIZATIONS": {"shop": TOKEN}},
        {"ORGANIZATIONS": {"shop": {TOKEN: "ACCESS_TOKEN"}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": f"{TOKEN} "}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": [TOKEN]}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "SERVER": TOKEN}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "SERVER": f"https://{TOKEN}@polar.test"}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "ORGANIZATION_ID": TOKEN}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "REQUESTS_PER_MINUTE": TOKEN}}},
        {"ORGANIZATIONS": {}, "WORKERS": TOKEN},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_SECRETS": {TOKEN: TOKEN}}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_SECRETS": f"{TOKEN} "}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_SECRETS": ["x", [TOKEN], f"{TOKEN}\n"]}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_SECRET": TOKEN}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_ENDPOINT_ID": TOKEN}}},
        {"ORGANIZATIONS": {}, "WEBHOOK_TOLERANCE_SECONDS": TOKEN},
        {"ORGANIZATIONS": {}, "ENABLE_WEBHOOK_ENDPOINT": TOKEN},
    ],
)
def test_misplaced_token_is_never_shown(settings: Settings, given: object) -> None:
    settings.POLAR_SYNC = given
    errors: list[BaseException | None] = [*polar_settings.find_errors()]
    assert errors
    for error in errors:
        while error is not None:
            assert TOKEN not in f"{error!s}{error!r}{vars(error)}"
            error = error.__cause__ or error.__context__  # noqa: PLW2901


@pytest.mark.parametrize(
    "wrong",
    [
        {"CONCURRENCY": 0},
        {"CONCURENCY": 4},
        {"THROTTLE_STORAGE": TOKEN},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": TOKEN, "SERVER": "nowhere"}, "live": {"ACCESS_TOKEN": TOKEN}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": TOKEN}, "live": {"ACCESS_TOKEN": TOKEN}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": f"{TOKEN}\n"}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": [TOKEN]}}},
        {"ORGANIZATIONS": {"shop": {"SERVER": TOKEN, "ACCESS_TOKEN": "x"}}},
        {"ORGANIZATIONS": [TOKEN]},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_SECRETS": f" {TOKEN}"}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_SECRETS": [TOKEN, ""]}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_SECRETS": (TOKEN, 5)}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_SECRETS": {TOKEN}}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "", "WEBHOOK_SECRETS": [TOKEN]}}},
        {"ORGANIZATIONS": {"shop": {"ACCESS_TOKEN": "x", "WEBHOOK_ENDPOINT_ID": TOKEN, "WEBHOOK_SECRETS": TOKEN}}},
    ],
)
def test_wrong_setting_puts_no_token_into_an_error_report(settings: Settings, wrong: dict[str, Any]) -> None:
    settings.POLAR_SYNC = {"ORGANIZATIONS": {"default": {"ACCESS_TOKEN": TOKEN}}, **wrong}
    with pytest.raises(SettingError) as caught:
        _ = polar_settings.concurrency, polar_settings.throttle_storage, polar_settings.organizations
    assert TOKEN not in hide_misplaced(expose(caught.value))
    for error in polar_settings.find_errors():
        assert TOKEN not in hide_misplaced(expose(error))


def hide_misplaced(report: str) -> str:
    """Without what Django's own page tells of the settings: it hides only what stands under the name of a token."""
    return re.sub(r"<td>POLAR_SYNC</td>.*?</tr>|^POLAR_SYNC = .*?$", "", report, flags=re.DOTALL | re.MULTILINE)


def test_page_of_an_error_hides_the_tokens_in_the_settings(settings: Settings) -> None:
    configure(settings, REQUESTS_PER_MINUTE=0, WEBHOOK_SECRETS=[SECRET, OLD_SECRET])
    with pytest.raises(SettingError) as caught:
        _ = polar_settings.organizations
    shown = expose(caught.value)
    assert "REQUESTS_PER_MINUTE" in shown
    assert "WEBHOOK_SECRETS" in shown
    for secret in (TOKEN, SECRET, OLD_SECRET):
        assert secret not in shown


def test_unknown_organization_puts_no_token_into_an_error_report(settings: Settings) -> None:
    configure(settings, WEBHOOK_SECRETS=SECRET)
    with pytest.raises(SettingError) as caught:
        polar_settings.get_organization("shpo")
    shown = expose(caught.value)
    assert TOKEN not in shown
    assert SECRET not in shown


def test_token_may_be_masked_in_the_settings(settings: Settings) -> None:
    configure(settings, ACCESS_TOKEN=Token(TOKEN))
    assert polar_settings.get_organization("shop").access_token == Token(TOKEN)


def test_token_that_is_no_text_is_described_by_its_type(settings: Settings) -> None:
    configure(settings, ACCESS_TOKEN=1234567)
    (error,) = polar_settings.find_errors()
    assert str(error) == 'POLAR_SYNC["ORGANIZATIONS"]["shop"]["ACCESS_TOKEN"] is of type int; it must be a text.'


def test_webhook_secret_that_is_no_text_is_described_by_its_type(settings: Settings) -> None:
    configure(settings, WEBHOOK_SECRETS=[SECRET, 1234567])
    (error,) = polar_settings.find_errors()
    path = 'POLAR_SYNC["ORGANIZATIONS"]["shop"]["WEBHOOK_SECRETS"]'
    assert str(error) == f"{path}[1] is of type int; it must be a text, or a list of texts."


def test_error_of_an_access_is_the_first_that_the_checks_find(settings: Settings) -> None:
    configure(settings, SERVER="nowhere")
    with pytest.raises(SettingError) as caught:
        polar_settings.get_organization("shop")
    assert [str(error) for error in polar_settings.find_errors()] == [str(caught.value)]


def test_choice_among_no_organizations_says_where_to_name_one(settings: Settings) -> None:
    settings.POLAR_SYNC = {"ORGANIZATIONS": {}}
    with pytest.raises(ConfigurationError, match=r'^POLAR_SYNC\["ORGANIZATIONS"\] is empty'):
        polar_settings.choose_organizations(None)
