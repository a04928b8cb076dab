"""How many rows a list has, without counting a long one anew for each page."""

from __future__ import annotations

import hashlib
from typing import Any

from django.core.cache import cache
from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet

from polar_sync.conf import settings

LONG = 10_000
"""Rows from which on a count is kept for `REST_COUNT_SECONDS`; a shorter list is counted each time."""


def count_rows(rows: QuerySet[Any]) -> int:
    """The number of rows, of a long list as of up to `REST_COUNT_SECONDS` ago."""
    seconds = settings.rest_count_seconds
    if not seconds:
        return rows.count()
    try:
        sql, parameters = rows.order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:
        return 0
    digest = hashlib.sha256(repr((rows.db, sql, parameters)).encode("utf-8", "surrogatepass")).hexdigest()
    key = f"polar_sync:count:{digest}"
    kept: int | None = cache.get(key)
    if kept is not None:
        return kept
    count = rows.count()
    if count >= LONG:
        cache.set(key, count, seconds)
    return count
