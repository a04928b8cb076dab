"""Polar's operations on customers: https://polar.sh/docs/api-reference/customers/list and its neighbours."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

import requests
from urllib3.exceptions import HTTPError

from polar_sync.client.parameters import (
    CUSTOMERS,
    CUSTOMERS_EXPORT,
    MetadataFilter,
    OrganizationFilter,
    build_customer_path,
    build_external_path,
    build_list_query,
    build_organization_query,
    encode_fields,
)
from polar_sync.client.responses import (
    ListPage,
    PolarObject,
    PolarRequest,
    make_unreadable_error,
    read_balance,
    read_object,
    read_page,
)
from polar_sync.client.sessions import CHUNK
from polar_sync.client.transport import Transport
from polar_sync.exceptions import PolarSyncError
from polar_sync.payloads.interval import Interval

FIRST_COLUMN = "ID"
LONGEST_LINE = 1024 * 1024
PAGE_SIZE = 100
# Oldest first, unlike Polar's own default: a customer created while paging then shifts no page.
SORTING = ("created_at",)


def read_rows(response: requests.Response, *, redact: Callable[[str], str]) -> Iterator[dict[str, str]]:
    """Yield each row by its column names, values through `redact`; never holds more than a row and a chunk.

    ValueError (also as UnicodeDecodeError) or csv.Error for what is no such CSV, one that ends within a row included.
    Errors of urllib3 and the socket pass.
    """
    reader = csv.reader(_read_lines(response), strict=True)
    header = next(reader, None)
    if not header or header[0] != FIRST_COLUMN:
        raise ValueError(f"no CSV whose first column is {FIRST_COLUMN}")
    for row in reader:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} values under {len(header)} columns")
        yield dict(zip(header, map(redact, row), strict=True))


def _read_lines(response: requests.Response) -> Iterator[str]:
    """Yield lines with their ends: only at line feeds, as a carriage return alone belongs to a value."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield f"{line}\n"
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE} characters")
    # A body without a length that is cut ends like one that is whole, but for this.
    if rest + decoder.decode(b"", final=True):
        raise ValueError("an export that ends within a row")


class Customers:
    """The twelve operations on customers, and `iterate` over all pages of a list.

    Every operation raises the errors of `polar_sync.exceptions`: ConfigurationError for arguments that Polar cannot
    be asked with, before any request; PolarError and its kinds for what Polar answered; BudgetError where the request
    budget lets nothing through; ClientClosedError. Ids are Polar's UUIDs, external ids your own texts.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        organization_id: OrganizationFilter | None = None,
        email: str | None = None,
        query: str | None = None,
        active: bool | None = None,
        page: int = 1,
        limit: int = PAGE_SIZE,
        sorting: str | Iterable[str] | None = SORTING,
        metadata: MetadataFilter | None = None,
    ) -> ListPage:
        """Return one page, from 1, of the customers that pass all filters; one beyond the last has no items.

        `email` is exact but for case; `query` is a part of email or name, or the beginning of an external id;
        `active` means a trialing, active or past-due subscription; `metadata` is like `{"plan": ["pro", "max"]}`:
        any of a key's values, all keys. `sorting` takes created_at, email and name, with "-" for descending. A
        `limit` over 100 is 100 to Polar. https://polar.sh/docs/api-reference/customers/list
        """
        pairs = build_list_query(
            organization_id=organization_id,
            email=email,
            query=query,
            active=active,
            page=page,
            limit=limit,
            sorting=sorting,
            metadata=metadata,
        )
        return read_page(self._transport.send(PolarRequest(method="GET", path=CUSTOMERS, query=pairs)))

    def iterate(
        self,
        *,
        organization_id: OrganizationFilter | None = None,
        email: str | None = None,
        query: str | None = None,
        active: bool | None = None,
        limit: int = PAGE_SIZE,
        sorting: str | Iterable[str] | None = SORTING,
        metadata: MetadataFilter | None = None,
    ) -> Iterator[Any]:
        """Yield the raw items of all pages; the parameters are those of `list`.

        Polar pages by offset over a set that may change meanwhile, so a customer may come twice or, after a
        deletion, not at all.
        """
        page = 1
        while True:
            found = self.list(
                organization_id=organization_id,
                email=email,
                query=query,
                active=active,
                page=page,
                limit=limit,
                sorting=sorting,
                metadata=metadata,
            )
            yield from found.items
            if not found.items or page >= found.max_page:
                return
            page += 1

    def create(self, /, **fields: Any) -> PolarObject:
        """Create a customer and return it. Never tried again after a lost answer: that could make a second one.

        https://polar.sh/docs/api-reference/customers/create
        """
        return self._write("POST", CUSTOMERS, fields)

    def export(self, *, organization_id: OrganizationFilter | None = None) -> Iterator[dict[str, str]]:
        """Yield the rows of the CSV export as dicts of texts ("ID", "External ID", …), read as they come in.

        The request is sent with the first row. NetworkError or UnreadableAnswerError may come after some rows.
        https://polar.sh/docs/api-reference/customers/export
        """
        query = build_organization_query(organization_id)
        return self._stream_rows(PolarRequest(method="GET", path=CUSTOMERS_EXPORT, query=query, is_streamed=True))

    def get(self, customer_id: str | UUID, /) -> PolarObject:
        """Return a customer. https://polar.sh/docs/api-reference/customers/get."""
        return self._read(build_customer_path(customer_id))

    def get_external(self, external_id: str, /) -> PolarObject:
        """Return a customer. https://polar.sh/docs/api-reference/customers/get-external."""
        return self._read(build_external_path(external_id))

    def get_state(self, customer_id: str | UUID, /) -> PolarObject:
        """Return a customer with `active_subscriptions`, `granted_benefits` and `active_meters`.

        https://polar.sh/docs/api-reference/customers/state
        """
        return self._read(build_customer_path(customer_id, suffix="/state"))

    def get_state_external(self, external_id: str, /) -> PolarObject:
        """Return what `get_state` does. https://polar.sh/docs/api-reference/customers/state-external."""
        return self._read(build_external_path(external_id, suffix="/state"))

    def get_balance(self, customer_id: str | UUID, /) -> PolarObject:
        """Return `{"balance": cents, "currency": "usd"}`, a positive balance being credit.

        BalanceUnavailableError on a server that no longer has this operation, as none of 2026 has.
        """
        path = build_customer_path(customer_id, suffix="/balance")
        return read_balance(self._transport.send(PolarRequest(method="GET", path=path, is_balance=True)))

    def update(self, customer_id: str | UUID, /, **fields: Any) -> PolarObject:
        """Change the given fields and return the customer; `metadata` is replaced whole, None clears a field.

        https://polar.sh/docs/api-reference/customers/update
        """
        return self._write("PATCH", build_customer_path(customer_id), fields)

    def update_external(self, external_id: str, /, **fields: Any) -> PolarObject:
        """Do what `update` does. https://polar.sh/docs/api-reference/customers/update-external."""
        return self._write("PATCH", build_external_path(external_id), fields)

    def delete(self, customer_id: str | UUID, /, *, anonymize: bool = False) -> Interval:
        """Delete a customer for good: cancels subscriptions, revokes benefits, frees the external id.

        `anonymize` also scrubs personal data. Returns when, on Polar's clock, that was done.
        https://polar.sh/docs/api-reference/customers/delete
        """
        return self._delete(build_customer_path(customer_id), anonymize=anonymize)

    def delete_external(self, external_id: str, /, *, anonymize: bool = False) -> Interval:
        """Do what `delete` does. https://polar.sh/docs/api-reference/customers/delete-external."""
        return self._delete(build_external_path(external_id), anonymize=anonymize)

    def _read(self, path: str) -> PolarObject:
        return read_object(self._transport.send(PolarRequest(method="GET", path=path)))

    def _write(self, method: str, path: str, fields: dict[str, Any]) -> PolarObject:
        return read_object(self._transport.send(PolarRequest(method=method, path=path, body=encode_fields(fields))))

    def _delete(self, path: str, *, anonymize: bool) -> Interval:
        query = [("anonymize", "true")] if anonymize else []
        return self._transport.send(PolarRequest(method="DELETE", path=path, query=query)).interval

    def _stream_rows(self, request: PolarRequest) -> Iterator[dict[str, str]]:
        response = self._transport.send(request)
        failure: PolarSyncError
        try:
            if response.http_response is not None:
                yield from read_rows(response.http_response, redact=self._transport.redact_text)
        except (csv.Error, ValueError) as error:
            failure = make_unreadable_error(response, str(error))
        except (HTTPError, OSError) as error:
            failure = self._transport.make_stream_error(request, error)
        else:
            return
        finally:
            response.close()
        raise failure
