"""Where Polar's servers are, and the paths of its objects."""

from __future__ import annotations

from urllib.parse import quote, urlsplit
from uuid import UUID

from polar_sync.exceptions import ConfigurationError

PRODUCTION = "https://api.polar.sh"
SANDBOX = "https://sandbox-api.polar.sh"
SERVERS = {"production": PRODUCTION, "sandbox": SANDBOX}

CUSTOMERS = "/v1/customers/"
CUSTOMERS_EXPORT = "/v1/customers/export"
PORTAL_CUSTOMER = "/v1/customer-portal/customers/me"


def resolve_server(server: str) -> str:
    """Return the base URL, without a slash at its end, of "production", "sandbox" or an http(s) URL.

    https://polar.sh/docs/integrate/sandbox. Anything else raises ConfigurationError.
    """
    if server in SERVERS:
        return SERVERS[server]
    if not _is_base_url(server):
        # What looks like `user:password@host` is not repeated: it would put the password into a log.
        shown = "" if "@" in str(server) else f", not {server!r}"
        raise ConfigurationError(
            'The server must be "production", "sandbox" or an address such as "https://api.example.com" '
            f"without user, query and fragment{shown}."
        )
    return server.rstrip("/")


def _is_base_url(server: object) -> bool:
    if not isinstance(server, str) or any(character.isspace() or not character.isprintable() for character in server):
        return False
    try:
        parts = urlsplit(server)
        has_valid_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_bare = "@" not in parts.netloc and not parts.query and not parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and has_valid_port and is_bare


def build_customer_path(customer_id: str | UUID, *, suffix: str = "") -> str:
    """Return the path of a customer by Polar's id, which must be a UUID (else ConfigurationError)."""
    try:
        canonical = UUID(str(customer_id))
    except ValueError:
        canonical = None
    if canonical is None:
        raise ConfigurationError(
            f"A customer's id on Polar is a UUID, not {customer_id!r}; "
            "for an id of your own use the operations on external ids."
        )
    return f"{CUSTOMERS}{canonical}{suffix}"


def build_external_path(external_id: str, *, suffix: str = "") -> str:
    """Return the path of a customer by its external id, percent-encoded.

    ConfigurationError where Polar cannot be asked for it: an id that is empty, holds a `/` (its router takes even
    `%2F` for the end of the id), is `.` or `..` (every HTTP library drops them from a path), or is no valid Unicode.
    """
    if not _is_text(external_id):
        raise ConfigurationError(f"An external id is a text that is not empty, not {external_id!r}.")
    if "/" in external_id:
        raise ConfigurationError(
            f"Polar cannot be asked for the external id {external_id!r}: it holds a '/'. "
            "Use the customer's id on Polar."
        )
    if external_id in {".", ".."}:
        raise ConfigurationError(
            f"Polar cannot be asked for the external id {external_id!r}: it means a folder in a path. "
            "Use the customer's id on Polar."
        )
    try:
        encoded = quote(external_id, safe="")
    except UnicodeEncodeError:
        encoded = ""
    if not encoded:
        raise ConfigurationError(f"The external id {external_id!r} holds half a character (a lone surrogate).")
    return f"{CUSTOMERS}external/{encoded}{suffix}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
