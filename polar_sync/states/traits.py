"""What an assembled state consists of, as far as real states have to confirm it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from datetime import datetime
from typing import Any

from polar_sync.states import fields as known
from polar_sync.states.assembly import Parts, flatten_grant
from polar_sync.states.comparison import Key, get_version

_MAX_TEXT = 60


def iterate_traits(item: Mapping[str, Any], parts: Parts) -> Iterator[tuple[str, str, Mapping[str, Any], Key]]:
    """Each object of a customer: its kind, its trait, itself as far as lists show it, and its key.

    A trait is a kind and what Polar tells apart in it: types of customers and benefits, statuses of subscriptions,
    archived meters.
    """
    yield known.CUSTOMER, _name(known.CUSTOMER, item.get("type")), item, (known.CUSTOMER, (str(item.get("id")),))
    for each in parts.present:
        key = str(each["id"])
        yield known.SUBSCRIPTION, _name(known.SUBSCRIPTION, each.get("status")), each, (known.SUBSCRIPTION, (key,))
        meters = each.get("meters")
        for meter in meters if isinstance(meters, list) else ():
            if isinstance(meter, dict):
                place = (known.SUBSCRIPTION_METER, (key, str(meter.get("id"))))
                yield known.SUBSCRIPTION_METER, known.SUBSCRIPTION_METER, meter, place
    for each in parts.grants:
        grant = flatten_grant(each)
        yield known.GRANT, _name(known.GRANT, grant.get("benefit_type")), grant, (known.GRANT, (str(each["id"]),))
    for each in parts.meters:
        yield known.METER, known.METER, each, (known.METER, (str(each["id"]),))
    for each in parts.archived:
        yield known.METER, _name(known.METER, "archived"), each, (known.METER, (str(each["id"]),))


def find_open_traits(
    item: Mapping[str, Any], parts: Parts, *, confirmed: Container[str], seen: Mapping[str, frozenset[str]]
) -> set[str]:
    """The traits that no real state has confirmed yet, and the names of fields, by kind, that none has `seen`."""
    found: set[str] = set()
    for kind, trait, each, _ in iterate_traits(item, parts):
        if trait not in confirmed:
            found.add(trait)
        if not each.keys() <= seen[kind]:
            found.update(f"{kind}.{name[:_MAX_TEXT]}" for name in each.keys() - seen[kind])
    return found


def find_settled_traits(item: Mapping[str, Any], parts: Parts, *, before: datetime) -> set[str]:
    """The traits of objects that have not changed since: a state that Polar stored an hour ago shows them alike."""
    return {
        trait
        for _, trait, each, _ in iterate_traits(item, parts)
        if (version := get_version(each)) is not None and version <= before
    }


def _name(kind: str, value: Any) -> str:
    return f"{kind}:{value[:_MAX_TEXT]}" if isinstance(value, str) else kind
