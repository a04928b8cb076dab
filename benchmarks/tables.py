"""The figures as a person reads them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

Figures = Mapping[str, Mapping[str, float]]
SIZES = (10_000, 100_000, 1_000_000)
LIMIT = 500
"""Requests a minute: https://polar.sh/docs/api-reference/rate-limits."""


def print_tables(measured: Figures, *, database: str, customers: int, rounds: int) -> None:
    """Print one database's figures, ratios and computed minutes."""
    _print(f"\n## {database}: {customers} customers, medians of {rounds} rounds; {_describe_machine()}\n")
    _print(
        "| case | customers/s | CPU ms/customer | requests | statements/customer | peak RSS MiB "
        "| CPU of naive | time of floor |"
    )
    _print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case, figures in measured.items():
        cells = (
            f"{figures['customers'] / figures['wall_seconds']:,.0f}",
            f"{figures['cpu_milliseconds']:.2f}",
            f"{figures['requests']:,.0f}",
            f"{figures['statements']:.2f}",
            f"{figures['peak_mebibytes']:.0f}",
            _get_naive_ratio(case, measured),
            _get_floor_ratio(case, measured),
        )
        _print(f"| {case} | {' | '.join(cells)} |")
    _print_minutes(measured)


def _get_naive_ratio(case: str, measured: Figures) -> str:
    base = "naive_unchanged" if case.endswith("_unchanged") else "naive_first"
    if base not in measured or case.startswith("floor"):
        return ""
    return f"{measured[case]['cpu_milliseconds'] / measured[base]['cpu_milliseconds']:.2f}"


def _get_floor_ratio(case: str, measured: Figures) -> str:
    """Wall time against that of the requests alone plus, for a first run, the inserts alone."""
    requests = "floor_requests" if case.startswith("per_customer") else "floor_batched_requests"
    if not case.startswith(("per_customer", "batched")) or requests not in measured or "floor_inserts" not in measured:
        return ""
    floor = measured[requests]["wall_seconds"]
    if case.endswith("_first"):
        floor += measured["floor_inserts"]["wall_seconds"]
    return f"{measured[case]['wall_seconds'] / floor:.2f}"


def _print_minutes(measured: Figures) -> None:
    _print(f"\nComputed, not measured: minutes at {LIMIT} requests a minute, from the counted requests.\n")
    _print("| case | " + " | ".join(f"{size:,} customers" for size in SIZES) + " |")
    _print("| --- |" + " --- |" * len(SIZES))
    for case in ("per_customer_first", "batched_first", "batched_unchanged"):
        if case in measured:
            each = measured[case]["requests"] / measured[case]["customers"]
            _print(f"| {case} | " + " | ".join(f"{each * size / LIMIT:,.1f}" for size in SIZES) + " |")


def _describe_machine() -> str:
    return f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"


def _print(text: str) -> None:
    print(text)  # noqa: T201
