"""What a state that was put together from lists cannot know better than what is stored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from polar_sync.payloads import dump_canonical, load_canonical
from polar_sync.payloads.objects import ChildPayload
from polar_sync.store.children import StoredChild
from polar_sync.store.observations import Children, Origin
from polar_sync.store.ordering import Order


def prefer_stored(stored: str, observed: str, *, fields: Collection[str] | None) -> str:
    """The observed object with these fields as they are stored, absence included."""
    if not fields or stored == observed:
        return observed
    old, new = _load(stored), _load(observed)
    kept = {name: old[name] for name in fields if name in old}
    merged = {**{name: value for name, value in new.items() if name not in fields}, **kept}
    return dump_canonical(merged) if merged else ""


def settle_payload(kind: str, row: StoredChild, child: ChildPayload, children: Children) -> str:
    """The payload of a child that has a row: what the lists are unsure of stays as a state once told it."""
    fields = children.unsure.get(kind)
    if not fields or row.payload == child.payload:
        return child.payload
    old, new = _load(row.payload), _load(child.payload)
    if old.get("product_id") != new.get("product_id"):  # another plan: what was known of the old one is no better
        return child.payload
    return prefer_stored(row.payload, child.payload, fields=fields)


def is_out_of_sight(kind: str, row: StoredChild, children: Children, *, order: Order) -> bool:
    """Whether it means nothing that a stored child was not told of.

    Lists show an archived meter only where it is named: what leaves is what was not shown even then. A state leaves out
    past due subscriptions, which stay until it is sure that it is later than what told of them.
    """
    if children.origin is Origin.LISTS:
        return kind == "meter" and row.id not in children.gone
    return children.origin is Origin.STATE and not row.is_in_state and order is not Order.LATER


def _load(text: str) -> dict[str, Any]:
    return load_canonical(text) if text else {}
