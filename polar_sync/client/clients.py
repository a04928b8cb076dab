"""The clients: of an organization, and of a customer's own session."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, Self, TypedDict, Unpack

from polar_sync.client.credentials import Credential
from polar_sync.client.customers import Customers
from polar_sync.client.lists import BenefitGrants, Benefits, CustomerMeters, Meters, Products, Subscriptions
from polar_sync.client.parameters import API_VERSION, PORTAL_CUSTOMER
from polar_sync.client.rate_limit import RequestBudget
from polar_sync.client.responses import PolarObject, PolarRequest, read_object
from polar_sync.client.transport import Transport, Usage
from polar_sync.client.webhooks import WebhookDeliveries, WebhookEndpoints
from polar_sync.tokens import Token


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of every client; see `BaseClient`."""

    server: str
    budget: RequestBudget | None
    connect_timeout: float
    read_timeout: float
    max_attempts: int
    version: str


class BaseClient:
    """A token and a server, for any number of threads; `close()` it, or use it as a context manager.

    `server` is "production", "sandbox" or a base URL; timeouts are in seconds. `budget` is the request budget to
    share with others; without one it is this process's own for that server, 500 requests a minute, 100 on the
    sandbox. `max_attempts` bounds the attempts of a read that fails for a while (`polar_sync.client.retries`).
    ConfigurationError for arguments that cannot work.
    """

    kind: ClassVar[str] = "token"

    def __init__(
        self,
        token: Token,
        *,
        server: str = "production",
        budget: RequestBudget | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_attempts: int = 4,
        version: str = API_VERSION,
    ) -> None:
        self._transport = Transport(
            credential=Credential(token, kind=self.kind),
            server=server,
            budget=budget,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_attempts=max_attempts,
            version=version,
        )

    def __repr__(self) -> str:
        # Error reports show also a client whose arguments were refused.
        transport = vars(self).get("_transport")
        return f"<{type(self).__name__}: {transport.server if transport else 'not made'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def server(self) -> str:
        """The base URL of the server asked."""
        return self._transport.server

    @property
    def usage(self) -> Usage:
        """A snapshot of attempts sent and seconds spent waiting for the budget."""
        return self._transport.usage

    def close(self) -> None:
        """Close the connections of all threads; who waits for the budget or a retry gets ClientClosedError."""
        self._transport.close()


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
        self.webhook_endpoints = WebhookEndpoints(self._transport)
        self.webhook_deliveries = WebhookDeliveries(self._transport)


class PortalCustomers:
    """Polar's operations on the customer whose session it is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> PolarObject:
        """Return the customer, with `oauth_accounts`, without `organization_id`, `external_id` and `metadata`.

        Raises what `polar_sync.client.customers.Customers` does.
        https://polar.sh/docs/api-reference/customer-portal/customers/get
        """
        return read_object(self._transport.send(PolarRequest(method="GET", path=PORTAL_CUSTOMER)))


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
