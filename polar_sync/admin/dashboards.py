"""Where Polar itself shows a customer."""

from __future__ import annotations

from urllib.parse import quote

_DASHBOARDS = {"production": "https://polar.sh", "sandbox": "https://sandbox.polar.sh"}


def get_dashboard_url(server: str, customer_id: object) -> str | None:
    """The customer's page in Polar's dashboard, None on servers that are not Polar's.

    `/to/dashboard/…` is Polar's own redirect to the organization that the person has open, so that its slug, which the
    customer API does not tell, is not needed.
    """
    base = _DASHBOARDS.get(server)
    return f"{base}/to/dashboard/customers/{quote(str(customer_id))}" if base else None
