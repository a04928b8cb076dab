"""`manage.py polar_sync`: mirror the organizations of the settings, now."""

from __future__ import annotations

import gc
import json
import logging
import sys
import time
from argparse import ArgumentParser
from enum import IntEnum
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from polar_sync import sync, tasks
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import ConfigurationError, PolarSyncError, RunActiveError
from polar_sync.management.reports import (
    BarReport,
    LineReport,
    Report,
    SilentReport,
    describe_dry_run,
    describe_interruption,
    describe_no_run,
    describe_run,
    list_changed,
    summarize_dry_run,
    summarize_run,
)
from polar_sync.models import SyncRun
from polar_sync.payloads.values import clean_text

logger = logging.getLogger(__name__)


class Exit(IntEnum):
    """What the command exits with: the worst over the organizations."""

    SUCCEEDED = 0
    FAILED = 1
    MISCONFIGURED = 2
    REFUSED = 3
    INTERRUPTED = 130


# From best to worst, where several organizations came to different ends; a mistake in the settings is worse than all.
_SEVERITY = (Exit.SUCCEEDED, Exit.REFUSED, Exit.FAILED)


class Command(BaseCommand):
    help = (
        "Mirror Polar organizations into this database. Exits with 0 when all succeeded, 1 when one is partial or "
        "failed, 2 on a configuration error, 3 when another run is active."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="NAME", help="only this one of POLAR_SYNC['ORGANIZATIONS']")
        one = parser.add_mutually_exclusive_group()
        one.add_argument("--customer", metavar="ID", help="only the customer with this Polar id")
        one.add_argument("--external-id", metavar="X", help="only the customer with this external id of yours")
        parser.add_argument("--queue", action="store_true", help="hand the work to Celery and return")
        parser.add_argument(
            "--allow-mass-deletion",
            action="store_true",
            help="mark customers deleted that Polar says are, however many and even if it lists none",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="ask Polar and compare, but write nothing: what would be created, updated, marked deleted",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON line an organization")

    def run_from_argv(self, argv: list[str]) -> None:
        # The process is this command's alone, and what is loaded by now lives as long as it does. The garbage collector
        # need not walk through all of it each time that a page of customers comes and goes.
        gc.freeze()
        super().run_from_argv(argv)

    def handle(self, **options: Any) -> None:
        try:
            organizations = self._get_organizations(options)
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=Exit.MISCONFIGURED) from None
        exits, mistakes = [], []
        for organization in organizations:
            try:
                exits.append(self._sync(organization, options))
            except ConfigurationError as error:
                mistakes.append(str(error))
                self._tell(organization, options, reason="configuration", detail=str(error))
            except Exception as error:  # noqa: BLE001 - logged, told and paid for by the exit code
                exits.append(self._fail(organization, error, options))
        if mistakes:
            raise CommandError("\n".join(mistakes), returncode=Exit.MISCONFIGURED)
        worst = max(exits, key=_SEVERITY.index)
        if worst is not Exit.SUCCEEDED:
            sys.exit(worst)

    def _get_organizations(self, options: dict[str, Any]) -> list[OrganizationSettings]:
        if options["external_id"] and options["queue"]:
            raise ConfigurationError("--queue hands over customers by Polar's id: give --customer, not --external-id.")
        if options["dry_run"] and (options["external_id"] or options["customer"] or options["queue"]):
            raise ConfigurationError("--dry-run tells what a run would do: give neither a customer nor --queue.")
        organizations = settings.choose_organizations(options["organization"])
        if len(organizations) > 1 and (options["customer"] or options["external_id"]):
            raise ConfigurationError("Say with --organization which of your organizations has this customer.")
        return organizations

    def _sync(self, organization: OrganizationSettings, options: dict[str, Any]) -> Exit:
        if options["customer"] or options["external_id"]:
            return self._refresh(organization, options)
        if options["queue"]:
            return self._queue(organization, options)
        if options["dry_run"]:
            return self._run_dry(organization, options)
        return self._run(organization, options)

    def _run(self, organization: OrganizationSettings, options: dict[str, Any]) -> Exit:
        started = time.monotonic()
        # First what the settings can get wrong: a run that was begun and left stands in the way of the next.
        with sync.connect(organization) as connection:
            try:
                run = sync.begin_run(organization, is_mass_deletion_allowed=options["allow_mass_deletion"])
            except RunActiveError as error:
                return self._refuse(organization, error, options)
            try:
                self._work(run, connection, options)
            except Exception as error:  # noqa: BLE001 - as above
                return self._fail(organization, error, options, run=run)
        self._print_run(run, options, seconds=time.monotonic() - started)
        return Exit.SUCCEEDED if run.status == SyncRun.Status.SUCCEEDED else Exit.FAILED

    def _work(self, run: SyncRun, connection: sync.Connection, options: dict[str, Any]) -> None:
        report = self._open_report(run.organization.name, options)
        try:
            sync.work_in_foreground(run, connection, on_progress=report.update)
        except KeyboardInterrupt:
            report.close()
            self.stderr.write(
                f"Interrupted. Run {run.pk} of {run.organization.name} is kept where it is; the next "
                "`manage.py polar_sync` continues it."
            )
            sys.exit(Exit.INTERRUPTED)
        finally:
            report.close()

    def _open_report(self, organization: str, options: dict[str, Any]) -> Report:
        if options["json"]:
            return SilentReport()
        if self.stderr.isatty():
            return BarReport(sys.stderr, name=organization)
        return LineReport(sys.stderr, name=organization)

    def _print_run(self, run: SyncRun, options: dict[str, Any], *, seconds: float) -> None:
        if options["json"]:
            self._print_json(describe_run(run, seconds=seconds))
        else:
            self.stdout.write(summarize_run(run, seconds=seconds))

    def _run_dry(self, organization: OrganizationSettings, options: dict[str, Any]) -> Exit:
        started = time.monotonic()
        is_allowed = options["allow_mass_deletion"]
        with (
            sync.connect(organization) as connection,
            sync.DryRun(organization, connection, is_mass_deletion_allowed=is_allowed) as run,
        ):
            run.work()
            line = describe_dry_run(
                organization.name, run, usage=connection.take_usage(), seconds=time.monotonic() - started
            )
            if options["json"]:
                self._print_json(line | {"ids": list_changed(run)})
            else:
                self.stdout.write(summarize_dry_run(line))
            return Exit.SUCCEEDED if run.status == SyncRun.Status.SUCCEEDED else Exit.FAILED

    def _refuse(self, organization: OrganizationSettings, error: RunActiveError, options: dict[str, Any]) -> Exit:
        if options["json"]:
            why = {"reason": "run_active", "detail": str(error)}
            self._print_json(describe_no_run(organization.name, status="refused", run=error.run_id, **why))
        else:
            self.stderr.write(str(error))
        return Exit.REFUSED

    def _fail(
        self,
        organization: OrganizationSettings,
        error: Exception,
        options: dict[str, Any],
        *,
        run: SyncRun | None = None,
    ) -> Exit:
        """What nobody expected ends the work on this organization, and not that on the others."""
        logger.error("The work on %s was interrupted", organization.name, exc_info=error)
        sync.drop_lost_connection()
        detail = clean_text(f"{type(error).__name__}: {error}")
        if run is not None:
            detail += f" Run {run.pk} is kept where it is; the next `manage.py polar_sync` continues it."
        self._tell(organization, options, run=run, reason="error", detail=detail)
        if not options["json"]:
            self.stderr.write(f"{organization.name}: {detail}")
        return Exit.FAILED

    def _tell(self, organization: OrganizationSettings, options: dict[str, Any], **why: Any) -> None:
        """The JSON line of an organization whose run did not get to its end."""
        if options["json"] and not (options["customer"] or options["external_id"]):
            self._print_json(describe_interruption(organization.name, **why))

    def _queue(self, organization: OrganizationSettings, options: dict[str, Any]) -> Exit:
        tasks.sync_organization.delay(organization.name, is_mass_deletion_allowed=options["allow_mass_deletion"])
        if options["json"]:
            self._print_json(describe_no_run(organization.name, status="queued"))
        else:
            self.stdout.write(f"{organization.name}: handed to Celery.")
        return Exit.SUCCEEDED

    def _refresh(self, organization: OrganizationSettings, options: dict[str, Any]) -> Exit:
        which = options["customer"] or options["external_id"]
        try:
            outcome = self._refresh_one(organization, options)
        except ConfigurationError:
            raise
        except (PolarSyncError, DatabaseError) as error:
            outcome = "failed"
            reason = clean_text(str(error))
        else:
            reason = ""
        if options["json"]:
            line = {"organization": organization.name, "customer": which, "status": outcome, "reason": reason}
            self._print_json(line)
        else:
            self.stdout.write(f"{organization.name}: customer {which} {outcome}" + (f": {reason}" if reason else "."))
        return Exit.FAILED if outcome == "failed" else Exit.SUCCEEDED

    def _refresh_one(self, organization: OrganizationSettings, options: dict[str, Any]) -> str:
        if options["queue"]:
            tasks.refresh_customer.delay(organization.name, str(_read_id(options["customer"])))
            return "queued"
        with sync.connect(organization) as connection:
            if options["customer"]:
                return sync.refresh_customer(organization, _read_id(options["customer"]), connection)
            return ", ".join(sync.refresh_external(organization, options["external_id"], connection))

    def _print_json(self, line: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(line, ensure_ascii=True))


def _read_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ConfigurationError(f"--customer takes a Polar id (a UUID), not {text!r}. See --external-id.") from None
