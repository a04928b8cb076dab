"""The client of an organization."""

from __future__ import annotations

from typing import Unpack

from polar_sync.client.base import BaseClient, ClientOptions
from polar_sync.client.customers import Customers
from polar_sync.client.lists import BenefitGrants, Benefits, CustomerMeters, Meters, Products, Subscriptions
from polar_sync.tokens import Token


class PolarClient(BaseClient):
    """Asks Polar with an organization access token: `client.customers.get_state(id)`.

    The options are those of `BaseClient`. https://polar.sh/docs/api-reference/introduction
    """

    kind = "access token"

    def __init__(self, access_token: str | Token, **options: Unpack[ClientOptions]) -> None:
        # Under the same name: error reports show what the names of a function hold.
        access_token = Token(access_token)
        super().__init__(access_token, **options)
        self.customers = Customers(self._transport)
        self.subscriptions = Subscriptions(self._transport)
        self.benefit_grants = BenefitGrants(self._transport)
        self.customer_meters = CustomerMeters(self._transport)
        self.products = Products(self._transport)
        self.benefits = Benefits(self._transport)
        self.meters = Meters(self._transport)
