"""What the caller may see: rows of customers, the one that a path names, and a whole state in one statement.

One statement, so that all of a state is of one moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Model, QuerySet, TextField, Value
from django.utils.module_loading import import_string
from rest_framework.request import Request

from polar_sync.conf import OrganizationSettings, settings
from polar_sync.models import Customer, Organization
from polar_sync.models.tables import Table, get_nested_tables, get_state_tables, get_tables
from polar_sync.payloads import dump_canonical
from polar_sync.rest.errors import RequestValidationError, ResourceNotFoundError
from polar_sync.rest.validation import read_uuid, read_uuids

_CUSTOMER = "customer"
_PLACEHOLDER = UUID("00000000-0000-4000-8000-0000000000ff")
_COLUMNS = ("pk", "organization_id", "payload", "extra", "synced_at", "observation__observed_at")
# Reading a time costs more than anything else about a row, so a plain list goes without these.
_MORE_COLUMNS = (*_COLUMNS, "observation__state_observed_at", "created_at", "email", "name")
M = TypeVar("M", bound=Model)
Resolver = Callable[[Request], Iterable[str] | None]


class Row(NamedTuple):
    """An object as the database gives it: ids and times in its own types, which only have to be compared."""

    pk: Any
    parent: Any
    created_at: Any
    payload: str
    extra: str


def load_state(customer_id: UUID) -> dict[str, Any] | None:
    """The state of a living customer as Polar's JSON, None where there is none by now."""
    rows = _read_rows(customer_id)
    if not rows[_CUSTOMER]:
        return None
    own = rows[_CUSTOMER][0]
    customer = Customer(id=customer_id, payload=own.payload, state_extra=own.extra)
    children = {}
    for table in get_state_tables():
        children[table.accessor] = objects = [_make_child(table, row) for row in rows[table.name]]
        nested = {each.accessor: _group(each, rows[each.name]) for each in get_nested_tables(table)}
        for one in objects if nested else ():
            _put(one, {accessor: held[one.pk] for accessor, held in nested.items()})
    _put(customer, children)
    return customer.state()


def _read_rows(customer_id: UUID) -> dict[str, list[Row]]:
    """Everything, by kind; the models put it in order."""
    alias = router.db_for_read(Customer)
    sql, parameters = _compile(alias)
    connection = connections[alias]
    placeholder, given = (_prepare(one, connection) for one in (_PLACEHOLDER, customer_id))
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(sql, [given if one == placeholder else one for one in parameters])
        for kind, *row in cursor:
            rows[kind].append(Row(*row))
    return rows


def _prepare(value: UUID, connection: BaseDatabaseWrapper) -> Any:
    return Customer._meta.pk.get_db_prep_value(value, connection)  # noqa: SLF001 - Django's public name for it


@cache
def _compile(alias: str) -> tuple[str, tuple[Any, ...]]:
    """The statement and its parameters for a customer `_PLACEHOLDER`; to build it takes longer than to answer it."""
    key = _PLACEHOLDER
    own = _select(Customer.objects.filter(pk=key), _CUSTOMER, parent="pk", extra=F("state_extra"))
    parts = []
    for table in get_tables():
        owned = {table.owner: key, **({table.flag: True} if table.is_flagged else {})}
        parts.append(_select(table.model.objects.filter(**owned), table.name, table.parent))
    compiled: tuple[str, tuple[Any, ...]] = own.union(*parts, all=True).query.get_compiler(alias).as_sql()
    return compiled


def _select(
    rows: QuerySet[Any], kind: str, parent: str = "customer_id", extra: Any = None
) -> QuerySet[Any, tuple[str, UUID, UUID, datetime | None, str, str]]:
    text = TextField()
    return rows.order_by().values_list(
        Value(kind, output_field=text),
        F("pk"),
        F(parent),
        F("created_at"),
        F("payload"),
        Value("", output_field=text) if extra is None else extra,
    )


def _make_child(table: Table, row: Row) -> Any:
    return table.model(id=row.pk, created_at=row.created_at, payload=row.payload, **{table.parent: row.parent})


def _group(table: Table, rows: Iterable[Row]) -> dict[Any, list[Any]]:
    """The objects by what holds them."""
    found = defaultdict(list)
    for row in rows:
        found[row.parent].append(_make_child(table, row))
    return found


def _put(row: Any, children: dict[str, list[Any]]) -> None:
    """Hand the children over as Django's prefetching would, so that the models put Polar's JSON together themselves."""
    row._prefetched_objects_cache = children  # noqa: SLF001 - where related managers look first


class CustomerRow(NamedTuple):
    """What answers, cursors and conditional requests need; the other columns stay in the database."""

    pk: UUID
    organization_id: UUID
    payload: str
    extra: str
    synced_at: datetime | None
    observed_at: datetime | None
    state_observed_at: datetime | None = None
    created_at: datetime | None = None
    email: str | None = None
    name: str | None = None

    def to_polar(self) -> dict[str, Any]:
        """The customer as Polar's `get` answers it."""
        return Customer(id=self.pk, payload=self.payload, extra=self.extra).to_polar()

    def to_json(self) -> str:
        """The same as JSON in ASCII. What is kept is that already, where no field came from elsewhere."""
        return dump_canonical(self.to_polar()) if self.extra else self.payload


def get_rows(customers: QuerySet[Customer]) -> list[CustomerRow]:
    """All of these, in their order."""
    return [CustomerRow(*values) for values in customers.values_list(*_MORE_COLUMNS)]


def get_brief_rows(customers: QuerySet[Customer]) -> list[CustomerRow]:
    """The same without what neither an answer nor its age needs: no state, no cursor."""
    return [CustomerRow(*values) for values in customers.values_list(*_COLUMNS)]


def get_visible_names(request: Request) -> frozenset[str] | None:
    """The names of the organizations that this caller may see, None for all."""
    path = settings.rest_organization_resolver
    if path is None:
        return None
    names = cast("Resolver", import_string(path))(request)
    return None if names is None else frozenset(names)


def filter_organizations(request: Request) -> QuerySet[Organization]:
    """The organizations that this caller may see."""
    names = get_visible_names(request)
    return Organization.objects.all() if names is None else Organization.objects.filter(name__in=names)


def filter_visible(rows: QuerySet[M], request: Request, *, field: str = "organization_id") -> QuerySet[M]:
    """Those of the rows whose `field`, Polar's id of an organization, is one that this caller may see."""
    if get_visible_names(request) is None:
        return rows
    ids: list[UUID] = list(
        filter_organizations(request).exclude(polar_id=None).values_list("polar_id", flat=True)  # type: ignore[arg-type]
    )
    # One id compared by equality is what lets an index over organization and time give the order too.
    return rows.filter(**({field: ids[0]} if len(ids) == 1 else {f"{field}__in": ids}))


def choose_organization(request: Request, polar_id: UUID | None) -> OrganizationSettings:
    """The organization that is written to: the one with that id, or the only one there is.

    Raises 422 where that is none, or not one alone.
    """
    names = get_visible_names(request)
    known = [name for name in settings.organizations if names is None or name in names]
    if polar_id is not None:
        known = list(Organization.objects.filter(name__in=known, polar_id=polar_id).values_list("name", flat=True))
    if len(known) == 1:
        return settings.get_organization(known[0])
    message = (
        "No organization that you may write to has this id."
        if polar_id is not None or not known
        else "There are several organizations; say which one is meant."
    )
    raise RequestValidationError.of_value(
        "value_error", ("body", "organization_id"), message, str(polar_id) if polar_id else None
    )


def filter_customers(request: Request, *, is_restricted: bool = True) -> QuerySet[Customer]:
    """Living customers; `is_restricted` to those of organizations that the caller may see."""
    living: QuerySet[Customer] = Customer.objects.all()
    return filter_visible(living, request) if is_restricted else living


def find_customer(request: Request, text: str) -> CustomerRow:
    """By Polar's id. Raises 422 for what is no UUID, 404 for whom there is not."""
    found = get_rows(filter_customers(request).filter(pk=read_uuid(text, ("path", "id"))))
    if not found:
        raise ResourceNotFoundError
    return found[0]


def find_external(request: Request, external_id: str, *, is_restricted: bool = True) -> CustomerRow | None:
    """By your own id; of two in one organization, where one's deletion is not known yet, the younger.

    Raises 422 where several organizations have one and `organization_id` does not say which is meant.
    """
    texts = request.query_params.getlist("organization_id")
    ids = read_uuids(texts, ("query", "organization_id"))
    found = filter_customers(request, is_restricted=is_restricted)
    if ids:
        found = found.filter(organization__polar_id__in=ids)
    rows = found.with_external_id(external_id)  # type: ignore[attr-defined]
    customers = get_rows(rows.order_by("-created_at", "-pk")[:100])
    if len({customer.organization_id for customer in customers}) > 1:
        message = "Customers of several organizations have this external id; say with organization_id which is meant."
        raise RequestValidationError.of_value("value_error", ("query", "organization_id"), message, None)
    return customers[0] if customers else None


def find_by_path(request: Request, path: str) -> CustomerRow | None:
    """By the external id that ends a path, which itself may end in the slash that the path does not need."""
    for external_id in dict.fromkeys((path, path.removesuffix("/"))):
        customer = find_external(request, external_id) if external_id else None
        if customer is not None:
            return customer
    return None
