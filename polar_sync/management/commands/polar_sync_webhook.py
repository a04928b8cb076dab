"""`manage.py polar_sync_webhook`: register the receiver of webhooks on Polar, and try whether it receives."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from polar_sync import sync
from polar_sync.conf import OrganizationSettings, settings
from polar_sync.exceptions import ConfigurationError, PolarSyncError
from polar_sync.sync.events import EVENTS
from polar_sync.webhooks.registration import (
    Endpoint,
    Registration,
    check_url,
    choose_secret,
    inspect_endpoint,
    register_endpoint,
    send_test_delivery,
)

_FAILED = 1
_MISCONFIGURED = 2


class Command(BaseCommand):
    help = (
        "Create the webhook endpoint of an organization on Polar or correct the one that is there, and send a signed "
        "test delivery through its URL. Exits with 0 where all is well, 1 where something is wrong that was not "
        "corrected, the test delivery failed or Polar could not be asked, 2 on a configuration error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", required=True, help="where this site receives, as Polar reaches it")
        parser.add_argument("--organization", metavar="NAME", help="which one of POLAR_SYNC['ORGANIZATIONS']")
        parser.add_argument("--check", action="store_true", help="only look: change nothing on Polar")
        parser.add_argument("--no-test", action="store_true", help="send no test delivery")

    def handle(self, **options: Any) -> None:
        try:
            organization, url = _choose_organization(options["organization"]), check_url(options["url"])
            registration = self._register(organization, url, is_checking=options["check"])
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=_MISCONFIGURED) from None
        except PolarSyncError as error:
            raise CommandError(f"{type(error).__name__}: {error}", returncode=_FAILED) from None
        self._print(organization, registration)
        is_well = not registration.problems
        if not options["no_test"]:
            is_well = self._test(organization, registration, url) and is_well
        if not is_well:
            sys.exit(_FAILED)

    def _register(self, organization: OrganizationSettings, url: str, *, is_checking: bool) -> Registration:
        with sync.connect(organization) as connection:
            if is_checking:
                return inspect_endpoint(organization, url, connection.client)
            registration = register_endpoint(organization, url, connection.client)
        if registration.endpoint is not None:
            sync.note_endpoint(organization, registration.endpoint.id, url=url)
        return registration

    def _print(self, organization: OrganizationSettings, registration: Registration) -> None:
        endpoint = registration.endpoint
        if endpoint is not None and registration.is_created:
            self._print_created(organization, endpoint)
        elif endpoint is not None:
            state = "enabled" if endpoint.is_enabled else "disabled"
            others = [event for event in endpoint.events if event not in EVENTS]
            self.stdout.write(f"{organization.name}: endpoint {endpoint.id}, {state}, {len(endpoint.events)} events.")
            if others:
                self.stdout.write(f"{organization.name}: not needed by polar_sync: {', '.join(sorted(others))}.")
        for problem in registration.corrected:
            self.stdout.write(f"{organization.name}: corrected: {problem.text}.")
        for problem in registration.problems:
            self.stdout.write(f"{organization.name}: wrong: {problem.text}.")

    def _print_created(self, organization: OrganizationSettings, endpoint: Endpoint) -> None:
        path = f'POLAR_SYNC["ORGANIZATIONS"]["{organization.name}"]'
        self.stdout.write(f"{organization.name}: created endpoint {endpoint.id} with {len(endpoint.events)} events.")
        if endpoint.secret is None:
            self.stdout.write(
                "Polar did not tell its secret; it shows it in the organization's settings, under Webhooks."
            )
        else:
            self.stdout.write(f"Its secret, which is printed only now:\n\n    {endpoint.secret.reveal()}\n")
        self.stdout.write(
            f'Put it into {path}["WEBHOOK_SECRETS"]. The example project reads the secret from POLAR_WEBHOOK_SECRET.'
        )

    def _test(self, organization: OrganizationSettings, registration: Registration, url: str) -> bool:
        """Send the test delivery and say what came of it; returns whether nothing is wrong."""
        secret = choose_secret(registration.endpoint, organization)
        if registration.is_created:
            self.stdout.write("Then run this command again: it sends a test delivery.")
            return True
        if secret is None:
            self.stdout.write(f"{organization.name}: no test delivery was sent: there is no secret to sign it with.")
            return False
        result = send_test_delivery(url, secret=secret)
        answer = "no answer" if result.status is None else f"status {result.status}"
        text = f"{organization.name}: test delivery: {answer} after {result.seconds:.2f} s"
        self.stdout.write(f"{text}: {result.problem}." if result.problem else f"{text}.")
        return not result.problem


def _choose_organization(name: str | None) -> OrganizationSettings:
    organizations = settings.choose_organizations(name)
    if len(organizations) > 1:
        raise ConfigurationError("Say with --organization which of your organizations receives at this URL.")
    return organizations[0]
