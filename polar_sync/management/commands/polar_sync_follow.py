"""`manage.py polar_sync_follow`: keep the mirror level with what Polar reports, also without Celery."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from polar_sync import sync
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import ConfigurationError, PolarSyncError

_FAILED = 1
_MISCONFIGURED = 2


class Command(BaseCommand):
    help = (
        "Read Polar's list of webhook deliveries for what did not arrive here, process it, and ask about the customers "
        "it leaves open; start a run where an endpoint was disabled. Every minute, or once. With --once, exits with 0 "
        "when that was done, 1 where Polar could not be asked, 2 on a configuration error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="NAME", help="only this one of POLAR_SYNC['ORGANIZATIONS']")
        parser.add_argument("--once", action="store_true", help="read once and return")
        parser.add_argument(
            "--all",
            action="store_true",
            help="read all deliveries and not only those that failed: where the endpoint is somebody else's receiver",
        )
        parser.add_argument("--interval", type=float, default=60.0, metavar="SECONDS", help="time between readings")

    def handle(self, **options: Any) -> None:
        try:
            organizations = _choose_organizations(options["organization"])
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=_MISCONFIGURED) from None
        while True:
            began = time.monotonic()
            ends = [self._follow(entry, options) for entry in organizations]
            if options["once"]:
                break
            time.sleep(max(0.0, options["interval"] - (time.monotonic() - began)))
        if any(ends):
            sys.exit(max(ends))

    def _follow(self, entry: OrganizationSettings, options: dict[str, Any]) -> int:
        """Follow one organization; what goes wrong with it keeps none of the others, nor the next time."""
        try:
            with sync.connect(entry) as connection:
                result = sync.follow(entry, connection, is_whole=options["all"])
                self._close_gap(entry, connection)
        except ConfigurationError as error:
            return self._fail(f"{entry.name}: {error}", _MISCONFIGURED)
        except (PolarSyncError, DatabaseError) as error:
            if isinstance(error, DatabaseError):
                sync.drop_lost_connection()
            return self._fail(f"{entry.name}: {type(error).__name__}: {error}", _FAILED)
        told = sync.get_organization_row(entry).told_until
        until = f", told until {told:%Y-%m-%d %H:%M:%S %Z}" if told else ""
        self.stdout.write(f"{entry.name}: {result.kept} new events on {result.pages} pages{until}")
        return 0

    def _close_gap(self, entry: OrganizationSettings, connection: sync.Connection) -> None:
        """The run that is needed where webhooks cannot tell all that changed."""
        organization = sync.get_organization_row(entry)
        if sync.needs_run(organization):
            time.sleep(sync.get_run_delay(organization).total_seconds())
        if run := sync.begin_needed_run(entry, organization):
            self.stdout.write(f"{entry.name}: run {run.pk}, as webhooks cannot tell all that changed")
            ended = sync.work_in_foreground(run, connection)
            self.stdout.write(f"{entry.name}: run {run.pk} {ended.status} {ended.reason}".rstrip())

    def _fail(self, message: str, status: int) -> int:
        self.stderr.write(message)
        return status


def _choose_organizations(name: str | None) -> list[OrganizationSettings]:
    """The one that is named, else all that have webhooks; where none has, all, so that each says what it lacks."""
    organizations = settings.choose_organizations(name)
    return [each for each in organizations if name or sync.has_webhooks(each)] or organizations
