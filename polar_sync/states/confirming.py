"""Customers that are thought to be gone: asked for themselves first, and for their states where they are there."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from polar_sync.exceptions import DeniedStateError, NotFoundError, PolarSyncError
from polar_sync.states.per_customer import PerCustomerSource
from polar_sync.states.source import StateAnswer


@dataclass(frozen=True, slots=True)
class ConfirmingSource(PerCustomerSource):
    """A `NotFoundError` of this source is Polar's answer to https://polar.sh/docs/api-reference/customers/get."""

    def _fetch_one(self, customer_id: UUID) -> StateAnswer:
        try:
            self.client.customers.get(str(customer_id))
        except PolarSyncError as error:
            return StateAnswer(customer_id, error=error)
        answer = PerCustomerSource._fetch_one(self, customer_id)  # noqa: SLF001 - slots leave no `super()`
        if not isinstance(answer.error, NotFoundError):
            return answer
        # One that was deleted in between is not there either when this is tried again.
        denied = DeniedStateError(f"Polar has this customer, but of its state it says: {answer.error}")
        return StateAnswer(customer_id, error=denied)
