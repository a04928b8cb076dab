"""The customer's own view: what a customer session token may ask for."""

from __future__ import annotations

from typing import Unpack

from polar_sync.client.addresses import PORTAL_CUSTOMER
from polar_sync.client.answers import Call, PolarObject, read_object
from polar_sync.client.base import BaseClient, ClientOptions
from polar_sync.client.transport import Transport
from polar_sync.tokens import Token


class PortalCustomers:
    """Polar's operations on the customer whose session it is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> PolarObject:
        """Return the customer, with `oauth_accounts`, without `organization_id`, `external_id` and `metadata`.

        Raises what `polar_sync.client.customers.Customers` does.
        https://polar.sh/docs/api-reference/customer-portal/customers/get
        """
        return read_object(self._transport.send(Call(method="GET", path=PORTAL_CUSTOMER)))


class PortalClient(BaseClient):
    """Asks Polar with a customer session token: `client.customers.get()`.

    The options are those of `BaseClient`. https://polar.sh/docs/api-reference/customer-portal/sessions/create
    """

    kind = "customer session token"

    def __init__(self, session_token: str | Token, **options: Unpack[ClientOptions]) -> None:
        # Under the same name: error reports show what the names of a function hold.
        session_token = Token(session_token)
        super().__init__(session_token, **options)
        self.customers = PortalCustomers(self._transport)
