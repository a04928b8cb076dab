"""`manage.py polar_sync_verify`: ask Polar about mirrored customers and say what differs."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from polar_sync import sync
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import ConfigurationError, PolarSyncError
from polar_sync.states import ABSENT, Difference
from polar_sync.sync.verification import (
    MIRROR,
    POLAR,
    Finding,
    Tally,
    choose_customers,
    find_unmirrored,
    get_organization,
    verify_customers,
)

_MISCONFIGURED = 2
_MAX_DIFFERENCES = 1_000
"""Differences listed in one JSON line."""


class Command(BaseCommand):
    help = (
        "Ask Polar for the states of mirrored customers and compare, field by field. Exits with 0 where nothing "
        "differs, 1 where something does or Polar could not be asked, 2 on a configuration error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="NAME", help="only this one of POLAR_SYNC['ORGANIZATIONS']")
        how_many = parser.add_mutually_exclusive_group()
        how_many.add_argument(
            "--sample",
            metavar="N",
            type=_read_number,
            default=100,
            help="this many customers, those first whose state was confirmed least recently (default: 100)",
        )
        how_many.add_argument("--all", action="store_true", help="all, and those on Polar's list that are not mirrored")
        parser.add_argument("--repair", action="store_true", help="mirror the present state of those who differ")
        parser.add_argument("--json", action="store_true", help="print one JSON line an organization")

    def handle(self, **options: Any) -> None:
        try:
            organizations = settings.choose_organizations(options["organization"])
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=_MISCONFIGURED) from None
        are_equal, mistakes = [], []
        for organization in organizations:
            try:
                are_equal.append(self._verify(organization, options))
            except ConfigurationError as error:
                mistakes.append(str(error))
        if mistakes:
            raise CommandError("\n".join(mistakes), returncode=_MISCONFIGURED)
        if not all(are_equal):
            sys.exit(1)

    def _verify(self, organization: OrganizationSettings, options: dict[str, Any]) -> bool:
        """Verify one organization, print what differs; returns whether nothing does."""
        row, tally, reason = get_organization(organization), Tally(), ""
        shown: list[dict[str, Any]] = []
        started, started_at = time.monotonic(), timezone.now()
        with sync.connect(organization) as connection:
            try:
                for finding in self._find(organization, connection, options):
                    tally.add(finding)
                    shown += self._show(finding, options)[: _MAX_DIFFERENCES - len(shown)]
            except ConfigurationError:
                raise
            except PolarSyncError as error:
                reason = f"{type(error).__name__}: {error}"
            requests = connection.client.usage.requests
        # One that was stopped is not kept: it would hide what the last whole one found.
        is_equal = not reason and tally.save(row, started_at=started_at).is_equal
        if options["json"]:
            figures = {"requests": requests, "seconds": round(time.monotonic() - started, 3), "reason": reason}
            numbers = {name: value for name, value in tally.dump().items() if name != "examples"}
            line = {"organization": organization.name, **numbers, **figures, "differences": shown}
            self.stdout.write(json.dumps(line, ensure_ascii=True, default=str))
        else:
            self.stdout.write(_summarize(organization.name, tally, requests))
            if reason:
                self.stderr.write(f"{organization.name}: stopped, {reason}")
        return is_equal

    def _find(
        self, organization: OrganizationSettings, connection: sync.Connection, options: dict[str, Any]
    ) -> Iterator[Finding]:
        row = get_organization(organization)
        ids = choose_customers(row, sample=None if options["all"] else options["sample"])
        yield from verify_customers(organization, ids, connection, is_repairing=options["repair"])
        if options["all"]:
            yield from find_unmirrored(organization, connection, is_repairing=options["repair"])

    def _show(self, finding: Finding, options: dict[str, Any]) -> list[dict[str, Any]]:
        """Print what differs of one customer, or give it back for the JSON line."""
        if options["json"]:
            failed = [{"customer": str(finding.id), "failure": finding.failure}] if finding.failure else []
            return [*(_describe(finding, each) for each in finding.differences), *failed]
        for each in finding.contradictions:
            text = each.describe(here=MIRROR, there=POLAR, with_values=True)
            self.stdout.write(f"{finding.id}: {text}{' (repaired)' if finding.is_repaired else ''}")
        if finding.failure:
            self.stdout.write(f"{finding.id}: {finding.failure}")
        return []


def _describe(finding: Finding, difference: Difference) -> dict[str, Any]:
    return {
        "customer": str(finding.id),
        "kind": difference.kind,
        "path": difference.path,
        "field": difference.field,
        "verdict": difference.verdict.value,
        "is_repaired": finding.is_repaired,
        # A side that has no such field or object has no key here.
        **({"mirror": difference.told} if difference.told is not ABSENT else {}),
        **({"polar": difference.shown} if difference.shown is not ABSENT else {}),
    }


def _summarize(name: str, tally: Tally, requests: int) -> str:
    text = f"{name}: {tally.checked} customers compared, {tally.differing} differ"
    if tally.counts:
        text += " (" + ", ".join(f"{kind}: {number}" for kind, number in sorted(tally.counts.items())) + ")"
    text += f"; {tally.unproven} differences are of the last hour and prove nothing"
    if tally.repaired:
        text += f"; {tally.repaired} repaired"
    if tally.failed:
        text += f"; {tally.failed} could not be asked about"
    return f"{text}; {requests} requests."


def _read_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ArgumentTypeError(f"takes a number of customers, not {text!r}")
    return int(text)
