"""The metadata of a benefit in what events show of its grants: neither a grant nor its customer tells of their change.

An event that was made before the benefit was changed can be heard after the event of that change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from polar_sync.models import Benefit, on_primary
from polar_sync.payloads import load_canonical
from polar_sync.payloads.values import read_newest, read_uuid
from polar_sync.store import EVENT_AGE
from polar_sync.sync.events import Event, Handling


def renew_metadata(events: Iterable[Event]) -> None:
    """Where a benefit is known to have changed after an event's data were read, give these its metadata of then."""
    shown = [(event, *each) for event in events for each in _iterate_shown(event)]
    if not shown:
        return
    known = _get_known({benefit_id for _, benefit_id, _, _ in shown})
    for event, benefit_id, holder, name in shown:
        if benefit_id in known:
            changed_at, metadata = known[benefit_id]
            if changed_at > event.timestamp - EVENT_AGE:
                holder[name] = metadata


def _iterate_shown(event: Event) -> Iterator[tuple[UUID, dict[str, Any], str]]:
    """Each benefit whose metadata the event shows, and where they are."""
    if event.handling is Handling.STATE:
        grants = event.data.get("granted_benefits")
        for grant in grants if isinstance(grants, list) else ():
            key = read_uuid(grant.get("benefit_id")) if isinstance(grant, dict) else None
            if key is not None and "benefit_metadata" in grant:
                yield key, grant, "benefit_metadata"
    elif event.handling is Handling.GRANT:
        benefit = event.data.get("benefit")
        if isinstance(benefit, dict) and "metadata" in benefit and (key := read_uuid(benefit.get("id"))) is not None:
            yield key, benefit, "metadata"


def _get_known(ids: Iterable[UUID]) -> Mapping[UUID, tuple[datetime, Any]]:
    """Of the benefits whose change is known, when that was, and their metadata since."""
    known = {}
    for key, payload in on_primary(Benefit.objects).filter(pk__in=ids).values_list("pk", "payload"):
        benefit = load_canonical(payload)
        changed_at = read_newest(benefit)
        if changed_at is not None and "metadata" in benefit:
            known[key] = (changed_at, benefit["metadata"])
    return known
