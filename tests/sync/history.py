"""What a server has said of each customer, and when; and what of that a mirror may hold after a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from tests.sync.socketless import STATE_ARRAYS, normalize

Objects = dict[tuple[str, str], Any]
"""The objects of one customer by kind and id, the customer's own fields among them."""


class Moment(NamedTuple):
    """From `since` on, until the next moment, a customer was this; nothing where there was none."""

    since: datetime
    objects: Objects


def split_state(state: Mapping[str, Any]) -> Objects:
    """The customer and each child apart: a mirror may have read them at different times."""
    ordered = normalize(dict(state))
    children = {(name, str(child["id"])): child for name in STATE_ARRAYS for child in ordered[name]}
    return {("customer", str(state["id"])): {key: ordered[key] for key in ordered.keys() - STATE_ARRAYS}, **children}


def drop_fields(value: Any, names: AbstractSet[str]) -> Any:
    """The value without all fields of these names, wherever they are in it."""
    if isinstance(value, dict):
        return {key: drop_fields(item, names) for key, item in value.items() if key not in names}
    return [drop_fields(item, names) for item in value] if isinstance(value, list) else value


@dataclass
class History:
    """Of one server, from the first customer on."""

    moments: dict[str, list[Moment]] = field(default_factory=dict)

    def note(self, customer_id: str, state: Mapping[str, Any] | None, *, at: datetime) -> None:
        """From now on the customer is this; None where it is gone."""
        objects = {} if state is None else split_state(state)
        self.moments.setdefault(customer_id, []).append(Moment(at, objects))

    def get_since(self, customer_id: str, since: datetime) -> list[Objects]:
        """What the customer was at any moment since then; before the first moment there was no such customer."""
        moments = [Moment(datetime.min.replace(tzinfo=since.tzinfo), {}), *self.moments.get(customer_id, ())]
        latest = max(number for number, moment in enumerate(moments) if moment.since <= since)
        return [moment.objects for moment in moments[latest:]]

    def find_lies(
        self, customer_id: str, mirrored: Objects, *, since: datetime, untold: AbstractSet[str]
    ) -> Iterator[str]:
        """Objects of a mirrored customer that were at no moment since then what the mirror says.

        Of what has changed since then, fields that are `untold` by lists may be what these say.
        """
        possible = self.get_since(customer_id, since)
        for key in {key for objects in possible for key in objects} | mirrored.keys():
            said = [objects.get(key) for objects in possible]
            if mirrored.get(key) in said or drop_fields(mirrored.get(key), untold) in drop_fields(said[1:], untold):
                continue
            yield f"{key} of {customer_id} is {mirrored.get(key)} and was {said}"

    def find_regress(
        self, customer_id: str, before: Objects, after: Objects, *, untold: AbstractSet[str]
    ) -> Iterator[str]:
        """Objects of which the mirror had a later version before."""
        every = [moment.objects for moment in self.moments[customer_id]]
        for key in before.keys() & after.keys():
            versions = drop_fields([objects.get(key) for objects in every], untold)
            was, now = drop_fields(before[key], untold), drop_fields(after[key], untold)
            if _find_last(versions, now) < versions.index(was):
                yield f"{key} of {customer_id} is {after[key]} and was {before[key]} already"

    def has_come_back(self, customer_id: str, key: tuple[str, str], *, since: datetime) -> bool:
        """Whether the customer has had the object at any moment since then."""
        return any(key in objects for objects in self.get_since(customer_id, since))


def _find_last(versions: list[Any], wanted: Any) -> int:
    return max(number for number, version in enumerate(versions) if version == wanted)
