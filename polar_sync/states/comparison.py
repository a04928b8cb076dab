"""A state of Polar's beside the same customer's state from elsewhere: what differs, and what that proves.

Polar answers with a state that it may have stored up to an hour ago, so that not every difference is a contradiction:
https://polar.sh/docs/api-reference/customers/state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from polar_sync.exceptions import PayloadError
from polar_sync.payloads import BENEFIT_GRANT, CUSTOMER, STATE_AGE, Interval, dump_canonical, is_equal, read_state
from polar_sync.payloads.kinds import get_arrays, get_kind, get_nested_kinds, get_state_kinds
from polar_sync.payloads.values import read_timestamp

MARGIN = timedelta(minutes=1)
"""How long before it was read a list may have been true, in doubt."""
_OF_BENEFIT = "benefit_"
_MAX_TEXT = 200
_BENEFIT_ID = "benefit_id"
_SPEAKING = frozenset({"status", "currency", "recurring_interval", "benefit_type", "type"})
Key = tuple[str, tuple[str, ...]]
"""An object of a state: its kind and the ids that lead to it."""
Objects = Mapping[Key, Mapping[str, Any]]


class Absent(Enum):
    """What stands for the value of a field, or for an object, that one side does not have."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "(absent)"


ABSENT: Final = Absent.ABSENT


class Verdict(Enum):
    """What a difference proves."""

    CONTRADICTION = "contradiction"
    NO_EVIDENCE = "no evidence"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field, or (`field` is None) one whole object, of which `told` is not what Polar's state has `shown`.

    Either is `ABSENT` where that side has no such field or object. Of another version of an object the `field` is
    `modified_at`; of a whole object the value is its version, when it was last modified.
    """

    key: Key
    field: str | None
    told: Any
    shown: Any
    verdict: Verdict

    @property
    def kind(self) -> str:
        """The kind of the object."""
        return self.key[0]

    @property
    def place(self) -> tuple[Key, str | None]:
        """What tells it from the other differences of one comparison."""
        return self.key, self.field

    @property
    def path(self) -> str:
        """Where it is, as text."""
        kind, ids = self.key
        return ".".join([f"{kind} {'/'.join(ids)}", *([self.field] if self.field else [])])

    @property
    def is_name(self) -> bool:
        """Whether one side lacks the field by its name."""
        return self.field is not None and ABSENT in (self.told, self.shown)

    def describe(self, *, here: str = "lists", there: str = "the state", with_values: bool = False) -> str:
        """What differs, without what tells of a person: values only of numbers and times, unless `with_values`."""
        if self.field is None:
            return f"{self.path} is only in {there if self.told is ABSENT else here}"
        if not (with_values or self._is_speaking):
            return f"{self.path} differs"
        return f"{self.path} is {_format(self.told)} in {here} and {_format(self.shown)} in {there}"

    @property
    def _is_speaking(self) -> bool:
        if self.kind == CUSTOMER.name and self.field not in {"type", "modified_at"}:
            return self.is_name and not {str, dict, list} & {type(self.told), type(self.shown)}
        return all(
            each is ABSENT
            or each is None
            or isinstance(each, int | float)
            or (isinstance(each, str) and (self.field in _SPEAKING or read_timestamp(each) is not None))
            for each in (self.told, self.shown)
        )


def _format(value: Any) -> str:
    return repr(value) if value is ABSENT else dump_canonical(value)[:_MAX_TEXT]


def compare(
    shown: Mapping[str, Any],
    told: Mapping[str, Any],
    *,
    shown_in: Interval,
    told_in: Interval,
    benefits: Mapping[str, datetime] | None = None,
) -> list[Difference]:
    """What Polar's state has `shown` beside what was `told` of the same customer, each read within its interval.

    Both are states as `payloads.read_state` takes them. `benefits` says by id when benefits were last modified. An
    object only in the state is called a contradiction where it is older than what was told; whether it still is what
    it was, only Polar can tell.
    """
    ours, theirs = index_objects(told), index_objects(shown)
    settled = shown_in.start - STATE_AGE
    found: list[Difference] = []
    for key in sorted(ours.keys() | theirs.keys()):
        if key not in theirs:
            version = get_version(ours[key])
            found.append(Difference(key, None, version, ABSENT, _judge(version, settled)))
        elif key not in ours:
            version = get_version(theirs[key])
            found.append(Difference(key, None, ABSENT, version, _judge(version, told_in.start - MARGIN)))
        elif not is_same_version(ours[key], theirs[key]):
            found.append(_compare_versions(key, ours[key], theirs[key], settled))
        else:
            found += _compare_fields(key, ours[key], theirs[key], settled, benefits or {})
    return found


def find_repeated(first: Iterable[Difference], second: Iterable[Difference]) -> list[Difference]:
    """The contradictions of a second comparison that were in the first too: no change in between explains them."""
    before = {each.place for each in first if each.verdict is Verdict.CONTRADICTION}
    return [each for each in second if each.verdict is Verdict.CONTRADICTION and each.place in before]


def find_equal(shown: Mapping[str, Any], told: Mapping[str, Any], differences: Iterable[Difference]) -> set[Key]:
    """The objects that both have in the same version with the same values, whatever names either lacks."""
    spoiled = {each.key for each in differences if not each.is_name}
    return (index_objects(shown).keys() & index_objects(told).keys()) - spoiled


def is_readable(state: Mapping[str, Any]) -> bool:
    """Whether it is a state that could be mirrored: what lists hold may be anything."""
    try:
        read_state(state)
    except PayloadError:
        return False
    return True


def index_objects(state: Mapping[str, Any]) -> dict[Key, dict[str, Any]]:
    """The customer and all of its children, each with its own fields only."""
    arrays = get_arrays()
    own = {name: value for name, value in state.items() if name not in arrays}
    found: dict[Key, dict[str, Any]] = {(CUSTOMER.name, (str(own.get("id")),)): own}
    for kind in get_state_kinds():
        nested_kinds = get_nested_kinds(kind)
        for child in state[kind.array]:
            place = (kind.name, (str(child["id"]),))
            found[place] = child
            for nested in nested_kinds:
                if isinstance(child.get(nested.array), list):
                    found[place] = {**found[place], nested.array: []}
                    found |= {(nested.name, (*place[1], str(each["id"]))): each for each in child[nested.array]}
    return found


def get_version(item: Mapping[str, Any]) -> datetime | None:
    """When an object was last modified, or else created."""
    return read_timestamp(item.get("modified_at")) or read_timestamp(item.get("created_at"))


def is_same_version(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two observations of one object are of the same modification."""
    left, right = one.get("modified_at"), other.get("modified_at")
    return left == right or (read_timestamp(left) is not None and read_timestamp(left) == read_timestamp(right))


def is_of_benefit(name: str) -> bool:
    """Whether a grant has this field from its benefit: it moves without the grant's `modified_at`."""
    return name.startswith(_OF_BENEFIT) and name != _BENEFIT_ID


def _judge(version: datetime | None, latest: datetime) -> Verdict:
    """An object of which it is not known how old it is proves nothing."""
    return Verdict.CONTRADICTION if version is not None and version <= latest else Verdict.NO_EVIDENCE


def _compare_versions(key: Key, told: Mapping[str, Any], shown: Mapping[str, Any], settled: datetime) -> Difference:
    versions = get_version(told), get_version(shown)
    newest = max(filter(None, versions), default=None)
    # Where one has no readable time, it is unknown which of the two is the newer.
    verdict = Verdict.NO_EVIDENCE if None in versions else _judge(newest, settled)
    return Difference(key, "modified_at", told.get("modified_at", ABSENT), shown.get("modified_at", ABSENT), verdict)


def _compare_fields(
    key: Key,
    told: Mapping[str, Any],
    shown: Mapping[str, Any],
    settled: datetime,
    benefits: Mapping[str, datetime],
) -> Iterator[Difference]:
    kind = get_kind(key[0])
    timestamps = kind.timestamps
    changed_at = benefits.get(str(shown.get(_BENEFIT_ID))) if kind is BENEFIT_GRANT else None
    for name in sorted((told.keys() | shown.keys()) - kind.unreliable - kind.unversioned):
        left, right = told.get(name, ABSENT), shown.get(name, ABSENT)
        if left is not ABSENT and right is not ABSENT and _is_same(name, left, right, timestamps):
            continue
        is_moving = changed_at is not None and changed_at > settled and is_of_benefit(name)
        yield Difference(key, name, left, right, Verdict.NO_EVIDENCE if is_moving else Verdict.CONTRADICTION)


def _is_same(name: str, left: Any, right: Any, timestamps: Collection[str]) -> bool:
    return is_equal(dump_canonical({name: left}), dump_canonical({name: right}), timestamps=timestamps)
