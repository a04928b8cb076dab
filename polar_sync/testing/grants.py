"""Giving and taking benefits on the fake server.

Reference: https://polar.sh/docs/features/benefits/introduction.
"""

from __future__ import annotations

import copy
import random
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from polar_sync.testing.catalogue import Benefit
from polar_sync.testing.changes import Object, find_object, get_id, get_scope, list_objects, put_object, strip_nested
from polar_sync.testing.customers import Record
from polar_sync.testing.foundation import CatalogueOwner
from polar_sync.testing.http import format_timestamp

GRANTED: dict[str, Any] = {"is_granted": True, "revoked_at": None, "is_revoked": False, "error": None}
FAILURE = "BenefitActionRequiredError"


def build_grant_properties(
    benefit: Benefit, *, rng: random.Random, make_id: Callable[[], str], meter_id: str, created: datetime, number: int
) -> dict[str, Any]:
    """The properties of a grant, by the type of its benefit; some types start out empty.

    `meter_id` is what a meter credit went to, `number` the customer's.
    """
    account = f"account:{number}"
    credited = {
        "last_credited_meter_id": meter_id,
        "last_credited_units": 1_000,
        "last_credited_at": format_timestamp(created),
    }
    every: dict[str, dict[str, Any]] = {
        "discord": {"account_id": account, "guild_id": "123", "role_id": "456", "granted_account_id": account},
        "github_repository": {
            "account_id": None,
            "repository_owner": "acme",
            "repository_name": "private",
            "permission": "pull",
        },
        "downloadables": {"files": [make_id() for _ in range(rng.randrange(3))]},
        "license_keys": {"license_key_id": make_id(), "display_key": f"****-{rng.getrandbits(24):06X}"},
        "meter_credit": rng.choice(({}, credited)),
        "slack_shared_channel": {
            "invited_email": f"slack{number}@example.com",
            "channel_id": f"C{number:08}",
            "channel_name": f"shared-{number}",
        },
    }
    return every.get(benefit.type, {})


def build_revocation(now: str) -> dict[str, Any]:
    """What a grant is once it is revoked."""
    return {"granted_at": None, "is_granted": False, "revoked_at": now, "is_revoked": True, "error": None}


class GrantOwner(CatalogueOwner):
    """The Python way to change the benefits that customers have; each change makes the events that Polar makes.

    Grants are named by their id or by an object that has it, such as an item of the list; an unknown one is a
    `KeyError`. A grant that is given back is a copy of what lists show of it, without the objects they nest.
    """

    def grant(
        self,
        customer_id: str | uuid.UUID,
        benefit: Object,
        *,
        subscription: Object | None = None,
        order_id: str | uuid.UUID | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Give a customer a benefit, for a subscription or an order (a new one where neither is given).

        A grant for the same that was revoked or had failed is used again. `fields` are those of the grant, such as
        `properties` or `member_id`.
        """
        with self.shared.lock:
            record = self.get_record(customer_id)
            scope = {"subscription_id": subscription and get_id(subscription), "order_id": order_id and str(order_id)}
            known = self._find_grant(record, get_id(benefit), scope=scope)
            if known is not None and known.get("granted_at") is not None:
                return copy.deepcopy(strip_nested(known))
            with self._changing(record):
                return copy.deepcopy(self._grant(record, get_id(benefit), scope=scope, fields=fields))

    def fail_grant(
        self, customer_id: str | uuid.UUID, benefit: Object, *, message: str = "The customer has to do something."
    ) -> dict[str, Any]:
        """Try in vain to give a customer a benefit: `benefit_grant.created` tells of a grant that is not granted."""
        with self.shared.lock:
            record = self.get_record(customer_id)
            error = {"message": message, "type": FAILURE, "timestamp": format_timestamp(self.now())}
            failed = {"granted_at": None, "is_granted": False, "error": error}
            scope = {"subscription_id": None, "order_id": None}
            with self._changing(record):
                return copy.deepcopy(self._grant(record, get_id(benefit), scope=scope, fields=failed))

    def update_grant(self, grant: Object, **fields: Any) -> dict[str, Any]:
        """Change fields of a grant, such as its `properties`."""
        with self.shared.lock:
            found = find_object(self.store, "grant", grant)
            with self._changing(found.record):
                changed = {"modified_at": format_timestamp(self.now()), **copy.deepcopy(fields)}
                whole = {**found.whole, **changed}
                put_object(found.record, "grant", whole)
                self.event_maker.tell_grant(found.record, whole, "updated", previous=found.whole.get("properties"))
            return copy.deepcopy(strip_nested(whole))

    def revoke_grant(self, grant: Object) -> dict[str, Any]:
        """Take a benefit from a customer; the grant stays in the list."""
        with self.shared.lock:
            found = find_object(self.store, "grant", grant)
            with self._changing(found.record):
                return copy.deepcopy(strip_nested(self._revoke_grant(found.record, found.whole)))

    def _grant(
        self, record: Record, benefit_id: str, *, scope: dict[str, Any], fields: dict[str, Any]
    ) -> dict[str, Any]:
        if benefit_id not in self.shelf.benefits:
            raise KeyError(f"there is no benefit {benefit_id}")
        old = self._find_grant(record, benefit_id, scope=scope)
        is_failed = fields.get("error") is not None
        if old and old.get("granted_at") is not None and not is_failed:
            return strip_nested(old)
        now = format_timestamp(self.now())
        if old is None:
            if scope == {"subscription_id": None, "order_id": None}:
                scope = {**scope, "order_id": self.make_id()}
            given = {"created_at": now, "modified_at": None, "id": self.make_id(), **scope, "benefit_id": benefit_id}
        else:
            given = {**old, "modified_at": now}
        benefit = self.shelf.benefits[benefit_id]
        said = {"benefit_type": benefit["type"], "benefit_metadata": copy.deepcopy(benefit["metadata"])}
        previous = old["properties"] if old else {}
        properties = previous if old or is_failed else self._make_properties(benefit, number=record.sequence)
        whole = {**given, **said, **GRANTED, "granted_at": now, "properties": properties, **copy.deepcopy(fields)}
        put_object(record, "grant", whole)
        self.event_maker.tell_grant(record, whole, "created", previous=previous)
        return strip_nested(whole)

    def _find_grant(self, record: Record, benefit_id: str, *, scope: dict[str, Any]) -> dict[str, Any] | None:
        """What was given for the same before; without a subscription or an order, any that is not given now."""
        is_open = scope == {"subscription_id": None, "order_id": None}
        for grant in list_objects(record, "grant"):
            if grant.get("benefit_id") != benefit_id:
                continue
            own = get_scope(record, grant)
            if own == scope or (is_open and grant.get("granted_at") is None and own["subscription_id"] is None):
                return grant
        return None

    def _make_properties(self, benefit: dict[str, Any], *, number: int) -> dict[str, Any]:
        own = Benefit(benefit["id"], benefit["type"], benefit["description"], benefit["metadata"])
        meter_id = str(benefit["properties"].get("meter_id"))
        return build_grant_properties(
            own, rng=self._rng, make_id=self.make_id, meter_id=meter_id, created=self.now(), number=number
        )

    def _cycle_grants(self, record: Record, *, subscription_id: str) -> None:
        """Take what a subscription gives into its next period."""
        for grant in list_objects(record, "grant"):
            if grant.get("subscription_id") == subscription_id and grant.get("granted_at") is not None:
                whole = {**grant, "modified_at": format_timestamp(self.now())}
                put_object(record, "grant", whole)
                self.event_maker.tell_grant(record, whole, "cycled", previous=grant.get("properties"))

    def _revoke_grant(self, record: Record, grant: dict[str, Any]) -> dict[str, Any]:
        now = format_timestamp(self.now())
        whole = {**grant, **get_scope(record, grant), **build_revocation(now), "modified_at": now}
        put_object(record, "grant", whole)
        self.event_maker.tell_grant(record, whole, "revoked", previous=grant.get("properties"))
        return whole
