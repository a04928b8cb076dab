"""Answers of Polar's as wide as the contract, and wider: every field typed, null, absent or of any other kind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from tests import factories
from tests.factories import ORGANIZATION_ID
from tests.payloads.strategies import JSON_VALUES, TEXTS

# None of them lies between an observation and a day after it, where it would become the observation's time.
TIMESTAMPS = st.sampled_from(
    (
        "2025-01-02T03:04:05Z",
        "2025-01-02T03:04:05.123456Z",
        "2025-01-02T03:04:05.1+05:30",
        "2025-01-02T03:04:05.123456789Z",
        "2025-01-02T03:04:05",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "0001-01-01T00:00:00+14:00",
        "not a time",
    )
) | st.datetimes(max_value=datetime(2025, 12, 30)).map(lambda time: time.replace(tzinfo=UTC).isoformat())  # noqa: DTZ001
TEXT_FIELDS = {
    "status": ("active", "trialing", "past_due", "a new one"),
    "type": ("individual", "team", "robot"),
    "recurring_interval": ("month", "year", "fortnight"),
    "benefit_type": ("custom", "meter_credit", "a new one"),
}
TAX_IDS = st.sampled_from((None, ["911144442", "us_ein"], {"[0]": "911144442", "[1]": "us_ein"}, "911144442", []))


def draw_value(key: str, sample: Any) -> st.SearchStrategy[Any]:
    """Mostly what the contract says of this field, now and then anything."""
    if key == "id":
        return st.just(sample) | st.just(sample.upper())
    if key == "organization_id":
        return st.sampled_from((str(ORGANIZATION_ID), None, "unreadable"))
    usual: st.SearchStrategy[Any]
    if key in factories.TIMESTAMPS:
        usual = TIMESTAMPS
    elif key in TEXT_FIELDS:
        usual = st.sampled_from(TEXT_FIELDS[key])
    elif key == "tax_id":
        usual = TAX_IDS
    else:
        usual = st.just(sample)
    return st.one_of(usual, usual, st.none(), JSON_VALUES)


@st.composite
def vary(draw: st.DrawFn, sample: dict[str, Any], *, keep: tuple[str, ...] = ("id",)) -> dict[str, Any]:
    """This object with a few of its fields varied or left out, and some that nobody knows."""
    item = dict(sample)
    for key in draw(st.sets(st.sampled_from(sorted(sample)), max_size=6)):
        if key == "meters":
            continue
        if key not in keep and draw(st.integers(0, 3)) == 0:
            del item[key]
        else:
            item[key] = draw(draw_value(key, item[key]))
    further = draw(st.dictionaries(TEXTS, JSON_VALUES, max_size=2))
    return {**{key: value for key, value in further.items() if key not in sample}, **item}


def _draw_some(draw: st.DrawFn, build: Any, names: range) -> list[dict[str, Any]]:
    return [draw(vary(build(name))) for name in draw(st.permutations(names)) if draw(st.booleans())]


@st.composite
def draw_state(draw: st.DrawFn, name: str = "a") -> dict[str, Any]:
    """A state of the customer of this name; states drawn one after the other share some of their children."""
    subscriptions = _draw_some(draw, factories.build_subscription, range(3))
    meters = _draw_some(draw, factories.build_subscription_meter, range(4))
    for subscription in subscriptions:
        subscription["meters"] = draw(st.sampled_from(([], None, "none")))
        if draw(st.booleans()) and isinstance(subscription["meters"], list):
            subscription["meters"], meters = meters[:2], meters[2:]
        if draw(st.integers(0, 5)) == 0 and not subscription["meters"]:
            del subscription["meters"]
    customer = draw(vary(factories.build_customer(name)))
    return {
        **{key: value for key, value in customer.items() if key not in factories.CHILD_ARRAYS},
        "active_subscriptions": subscriptions,
        "granted_benefits": _draw_some(draw, factories.build_grant, range(3)),
        "active_meters": _draw_some(draw, factories.build_meter, range(3)),
    }
