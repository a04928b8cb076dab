"""A subscription or a grant of one customer, found and put where its status says: in the state, or only in the list."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from polar_sync.testing.catalogue import derive_id
from polar_sync.testing.customers import Record

Kind = Literal["subscription", "grant"]
Object = Mapping[str, Any] | str | uuid.UUID
# What a state shows of each; everything else is in lists and webhooks only.
STATE_FIELDS: dict[Kind, tuple[str, ...]] = {
    "subscription": (
        *("id", "created_at", "modified_at", "custom_field_data", "metadata", "status", "amount", "currency"),
        *("recurring_interval", "current_period_start", "current_period_end", "trial_start", "trial_end"),
        *("cancel_at_period_end", "canceled_at", "started_at", "ends_at", "product_id", "discount_id", "price_id"),
        "meters",
    ),
    "grant": (
        *("id", "created_at", "modified_at", "granted_at", "benefit_id", "benefit_type", "benefit_metadata"),
        "properties",
    ),
}
# A recorded grant says in its benefit what a state says of that.
RENAMED = {"benefit_type": "type", "benefit_metadata": "metadata"}
KINDS: tuple[Kind, ...] = get_args(Kind)
ARRAYS: dict[Kind, str] = {"subscription": "active_subscriptions", "grant": "granted_benefits"}
# Built anew for each answer.
NESTED = frozenset({"customer", "user", "benefit", "product", "price", "prices", "discount"})
PRESENT = frozenset({"trialing", "active"})


@dataclass(slots=True)
class Found:
    """An object and whose it is; `whole` has the fields that only lists show too."""

    record: Record
    whole: dict[str, Any]


def get_id(value: Object) -> str:
    """The id of what is given by it, or as an object that has it."""
    return str(value["id"] if isinstance(value, Mapping) else value)


def list_objects(record: Record, kind: Kind) -> list[dict[str, Any]]:
    """All subscriptions or grants of a customer, each with the fields that only lists show."""
    others = record.other_subscriptions if kind == "subscription" else record.other_grants
    recorded = {str(item.get("id")): item for _, item in record.listed.get(kind, ())}
    shown = [one for one in (*record.get_children(ARRAYS[kind]), *others) if isinstance(one, dict)]
    known = {str(one.get("id")): one for one in shown}
    return [
        {**recorded.get(key, {}), **known.get(key, {}), **record.list_fields.get(key, {})}
        for key in dict.fromkeys([*known, *recorded])
    ]


def index_objects(record: Record, kind: Kind) -> dict[str, dict[str, Any]]:
    """The same by their ids; what has none cannot be told of."""
    return {one["id"]: one for one in list_objects(record, kind) if isinstance(one.get("id"), str)}


def find_object(records: Iterable[Record], kind: Kind, value: Object) -> Found:
    """The living customer's object with this id; `KeyError` where there is none."""
    wanted = get_id(value)
    for record in records:
        for whole in list_objects(record, kind):
            if whole.get("id") == wanted:
                return Found(record, whole)
    raise KeyError(f"no living customer has a {kind} {wanted}")


def put_object(record: Record, kind: Kind, whole: dict[str, Any]) -> None:
    """Add an object to its customer or replace it, in the state where it is active or granted."""
    own = split_fields(kind, whole, is_own=True)
    record.list_fields = {**record.list_fields, own["id"]: split_fields(kind, strip_nested(whole), is_own=False)}
    is_present = whole["status"] in PRESENT if kind == "subscription" else whole.get("granted_at") is not None
    record.set_children(ARRAYS[kind], _replace(record.get_children(ARRAYS[kind]), own, is_kept=is_present))
    if kind == "subscription":
        record.other_subscriptions = _replace(record.other_subscriptions, own, is_kept=not is_present)
    else:
        record.other_grants = _replace(record.other_grants, own, is_kept=not is_present)
    if kind in record.listed:
        kept = [(place, one) for place, one in record.listed[kind] if _get_id(one) != own["id"]]
        record.listed = {**record.listed, kind: [*kept, (0, own)]}


def split_fields(kind: Kind, whole: dict[str, Any], *, is_own: bool) -> dict[str, Any]:
    """The fields that a state shows, or those that it does not."""
    if is_own:
        benefit = whole.get("benefit")
        nested = benefit if isinstance(benefit, dict) else {}
        said = {name: nested[source] for name, source in RENAMED.items() if kind == "grant" and source in nested}
        whole = {**said, **whole}
    return {name: value for name, value in whole.items() if (name in STATE_FIELDS[kind]) is is_own}


def strip_nested(whole: dict[str, Any]) -> dict[str, Any]:
    """An object without the whole objects that a recorded item nests."""
    return {name: value for name, value in whole.items() if name not in NESTED}


def _replace(values: list[Any], own: dict[str, Any], *, is_kept: bool) -> list[Any]:
    """The values with `own` in the place of the one with its id, at the end where it is new, or without it."""
    if not is_kept:
        return [one for one in values if _get_id(one) != own["id"]]
    if any(_get_id(one) == own["id"] for one in values):
        return [own if _get_id(one) == own["id"] else one for one in values]
    return [*values, own]


def _get_id(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else None


def get_scope(record: Record, grant: dict[str, Any]) -> dict[str, Any]:
    """What a grant was given for: a subscription or an order.

    Where nothing says it, lists take the first subscription of the state, or an order of its own.
    """
    if "subscription_id" in grant:
        return {"subscription_id": grant["subscription_id"], "order_id": grant.get("order_id")}
    subscriptions = record.get_children(ARRAYS["subscription"])
    first = next((one.get("id") for one in subscriptions if isinstance(one, dict)), None)
    return {"subscription_id": first, "order_id": derive_id(str(grant.get("id")), "order") if first is None else None}


def fix_scopes(record: Record) -> None:
    """Have each grant keep what it was given for, before the customer's subscriptions change."""
    for grant in list_objects(record, "grant"):
        if "subscription_id" not in grant:
            fields = {**record.list_fields.get(str(grant.get("id")), {}), **get_scope(record, grant)}
            record.list_fields = {**record.list_fields, str(grant.get("id")): fields}
