"""`metadata[key]=value`: equality with a value's text as PostgreSQL's `->>` gives it, which is what Polar compares."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import connections
from django.db.models import BooleanField, F, Func, Q, QuerySet, TextField, Value

from polar_sync.models import Customer
from polar_sync.payloads.values import clean_text

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_MAX_DIGITS = 1000
"""No number is longer; PostgreSQL would refuse to read some that are."""


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
