"""What lists can be filtered by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import django_filters
from django import forms
from django.db import connections
from django.db.models import BooleanField, Exists, F, Func, OuterRef, Q, QuerySet, TextField, Value
from rest_framework.request import Request

from polar_sync.models import Customer, Subscription
from polar_sync.models.base import match_beginning, match_part
from polar_sync.payloads import project_key
from polar_sync.payloads.values import clean_text
from polar_sync.rest import validation
from polar_sync.rest.validation import METADATA, IdsField, MetadataField, QueryField, RepeatedField, read_text

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_MAX_DIGITS = 1000
"""No number is longer; PostgreSQL would refuse to read some that are."""
Rows = QuerySet[Any]
ACTIVE_STATUSES = ("active", "trialing", "past_due")


class _Contains(Func):
    """PostgreSQL: containment, which the index over the metadata answers."""

    template = "(%(expressions)s::jsonb)"
    arg_joiner = " @> "
    output_field = BooleanField()


class _Text(Func):
    """PostgreSQL: a key's value as text, even where the key looks like the place in an array."""

    template = "(%(expressions)s::text)"
    arg_joiner = " ->> "
    output_field = TextField()


class _HasText(Func):
    """SQLite: the same, whose own `->>` writes true as 1."""

    template = "%(expressions)s"
    output_field = BooleanField()

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: Any, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        """A search through the pairs; only the placeholders of the arguments come from outside."""
        metadata, key, text = (compiler.compile(part) for part in self.get_source_expressions())
        sql = (
            f"EXISTS(SELECT 1 FROM json_each({metadata[0]}) AS pair WHERE pair.key = {key[0]} AND "  # noqa: S608
            "CASE pair.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST(pair.atom AS TEXT) END "
            f"= {text[0]})"
        )
        return sql, (*metadata[1], *key[1], *text[1])


def filter_metadata(customers: QuerySet[Customer], wanted: Mapping[str, Sequence[str]]) -> QuerySet[Customer]:
    """Those who have, for every key, one of its texts as the value."""
    is_postgresql = connections[customers.db].vendor == "postgresql"
    for key, texts in wanted.items():
        found = Q()
        for text in texts:
            match = _match_postgresql if is_postgresql else _match_sqlite
            found |= match(clean_text(key), clean_text(text))
        customers = customers.filter(found)
    return customers


def _match_sqlite(key: str, text: str) -> Q:
    return Q(_HasText(F("metadata"), _text(key), _text(text)))


def _match_postgresql(key: str, text: str) -> Q:
    """Containment finds the candidates, the text decides: 5 contains 5.0, which reads otherwise."""
    candidates = Q()
    for document in _get_documents(key, text):
        candidates |= Q(_Contains(F("metadata"), _text(document)))
    return candidates & Q(_IsText(_Text(F("metadata"), _text(key)), _text(text)))


class _IsText(Func):
    template = "(%(expressions)s)"
    arg_joiner = " = "
    output_field = BooleanField()


def _get_documents(key: str, text: str) -> Iterator[str]:
    """JSON of every pair that may read so: the text, a truth, a number."""
    yield json.dumps({key: text})
    if text in {"true", "false"}:
        yield json.dumps({key: text == "true"})
    if len(text) <= _MAX_DIGITS and _NUMBER.fullmatch(text):
        # As it was given: a float would lose digits on the way.
        yield f"{{{json.dumps(key)}:{text}}}"


def _text(value: str) -> Value:
    return Value(value, output_field=TextField())


class QueryFilter(django_filters.Filter):
    """A filter by one parameter; absent it changes nothing, unlike the empty text."""

    def __init__(self, field: forms.Field, apply: Callable[[Rows, Any], Rows]) -> None:
        super().__init__()
        self._field = field
        self._apply = apply

    def filter(self, qs: Rows, value: Any) -> Rows:
        """The rows that pass."""
        return qs if value is None else self._apply(qs, value)


def _once(name: str, read: Callable[[str, validation.Location], Any], lookup: str) -> QueryFilter:
    return QueryFilter(QueryField(name=name, read=read), lambda rows, value: rows.filter(**{lookup: value}))


def _any(name: str, read: Callable[[str, validation.Location], Any], lookup: str) -> QueryFilter:
    return _match_any(RepeatedField(name=name, read=read), lookup)


def _any_id(name: str, lookup: str) -> QueryFilter:
    return _match_any(IdsField(name=name), lookup)


def _match_any(field: forms.Field, lookup: str) -> QueryFilter:
    def apply(rows: Rows, values: Sequence[Any]) -> Rows:
        # Equality with one value leaves the order to an index that goes on with the sort key.
        return rows.filter(**({lookup: values[0]} if len(values) == 1 else {f"{lookup}__in": values}))

    return QueryFilter(field, apply)


def _filter_email(rows: Rows, email: str) -> Rows:
    return rows.filter(email__iexact=clean_text(email)) if email else rows.filter(email="")


def _filter_query(rows: Rows, query: str) -> Rows:
    text = clean_text(query)
    if not text:
        return rows
    return rows.filter(
        match_part("email", text)
        | match_part("name", text)
        | match_part("billing_name", text)
        | match_beginning("external_id", text)
    )


def _filter_active(rows: Rows, is_active: bool) -> Rows:
    counted = Subscription.objects.filter(customer=OuterRef("pk"), status__in=ACTIVE_STATUSES)
    return rows.filter(Exists(counted) if is_active else ~Exists(counted))


def _filter_external(rows: Rows, external_ids: Sequence[str]) -> Rows:
    return rows.filter(customer__external_id__in=[project_key(one) for one in external_ids])


class QueryFilterSet(django_filters.FilterSet):
    """Filters that refuse what they cannot read with all of its details."""

    @classmethod
    def is_known(cls, name: str) -> bool:
        """Whether a parameter of this name is one of these filters."""
        return name in cls.base_filters and name != "metadata"

    @classmethod
    def filter_rows(cls, rows: Rows, request: Request) -> Rows:
        """The rows that the request asks for. Raises `ParameterError`."""
        if not any(map(cls.is_known, request.query_params)):
            return rows
        filters = cls(request.query_params, queryset=rows)
        wrong = [
            detail
            for errors in filters.form.errors.as_data().values()
            for error in errors
            for detail in _list_details(error)
        ]
        if wrong:
            raise validation.ParameterError(*wrong)
        narrowed: Rows = filters.qs
        return narrowed


def _list_details(error: Any) -> Sequence[validation.Detail]:
    found: Sequence[validation.Detail] = error.params["details"]
    return found


class CustomerFilterSet(QueryFilterSet):
    """https://polar.sh/docs/api-reference/customers/list."""

    organization_id = _any_id("organization_id", "organization_id")
    email = QueryFilter(QueryField(name="email", read=read_text), _filter_email)
    query = QueryFilter(QueryField(name="query", read=read_text), _filter_query)
    active = QueryFilter(QueryField(name="active", read=validation.read_bool), _filter_active)
    metadata = QueryFilter(MetadataField(required=False), filter_metadata)

    @classmethod
    def is_known(cls, name: str) -> bool:
        """Metadata is asked for by key."""
        return super().is_known(name) or METADATA.fullmatch(name) is not None


class _ChildFilterSet(QueryFilterSet):
    organization_id = _any_id("organization_id", "customer__organization_id")
    customer_id = _any_id("customer_id", "customer_id")
    external_customer_id = QueryFilter(RepeatedField(name="external_customer_id", read=read_text), _filter_external)


class SubscriptionFilterSet(_ChildFilterSet):
    """Mirrored subscriptions: those in their customers' states, and `past_due` ones where they are known."""

    product_id = _any_id("product_id", "product_id")
    status = _any("status", lambda text, _: clean_text(text), "status")
    current_period_end_before = _once("current_period_end_before", validation.read_instant, "current_period_end__lt")
    current_period_end_after = _once("current_period_end_after", validation.read_instant, "current_period_end__gt")
    cancel_at_period_end = _once("cancel_at_period_end", validation.read_bool, "cancel_at_period_end")


class BenefitGrantFilterSet(_ChildFilterSet):
    """Mirrored benefit grants."""

    benefit_id = _any_id("benefit_id", "benefit_id")
    # Polar lists revoked grants too; the mirror has none.
    is_granted = QueryFilter(
        QueryField(name="is_granted", read=validation.read_bool),
        lambda rows, is_granted: rows if is_granted else rows.none(),
    )
    benefit_type = _any("benefit_type", lambda text, _: clean_text(text), "benefit_type")


class MeterFilterSet(_ChildFilterSet):
    """Mirrored balances on meters."""

    meter_id = _any_id("meter_id", "meter_id")
    balance_below = _once("balance_below", validation.read_number, "balance__lt")


class RunFilterSet(QueryFilterSet):
    """Runs over an organization."""

    STATUSES: ClassVar[tuple[str, ...]] = ("running", "succeeded", "partial", "failed")
    organization = _any("organization", lambda text, _: clean_text(text), "organization__name")
    status = _any("status", lambda text, at: validation.read_choice(text, at, choices=RunFilterSet.STATUSES), "status")
