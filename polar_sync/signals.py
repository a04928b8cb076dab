"""What a project can listen to. Receivers run after commit; Django logs one that raises, and it stops nobody else.

`customer_changed` is sent once for each customer of which anything changed, with `sender` the `Customer` model,
`organization` (the `Organization`), `customer_id` and `changes`, a tuple of `polar_sync.store.Change`.

`webhook_endpoint_disabled` is sent when Polar is first seen to have disabled the endpoint, so that it makes no events,
with `sender` the `WebhookFeed` model, `organization` and `problem`, a sentence that says what to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import transaction
from django.dispatch import Signal

if TYPE_CHECKING:
    from uuid import UUID

    from polar_sync.models import Organization
    from polar_sync.store.results import Change

customer_changed = Signal()
webhook_endpoint_disabled = Signal()


def announce_changes(changes: Iterable[Change], *, organization: Organization, using: str) -> None:
    """Send `customer_changed` for these changes once the transaction has committed."""
    by_customer: defaultdict[UUID, list[Change]] = defaultdict(list)
    for change in changes:
        by_customer[change.customer_id].append(change)
    if by_customer:
        frozen = {customer_id: tuple(of_customer) for customer_id, of_customer in by_customer.items()}
        transaction.on_commit(partial(_send, frozen, organization), using=using, robust=True)


def _send(by_customer: dict[UUID, tuple[Change, ...]], organization: Organization) -> None:
    sender = apps.get_model("polar_sync", "Customer")
    for customer_id, changes in by_customer.items():
        customer_changed.send_robust(sender, organization=organization, customer_id=customer_id, changes=changes)
