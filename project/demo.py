"""`make demo`: mirror an organization, real or made up, and serve it in the admin until Ctrl-C.

With POLAR_ACCESS_TOKEN that organization is mirrored, else one of made-up customers on a fake Polar server. The demo
has a database of its own. POLAR_SYNC_DEMO_PORT is another port than 8000, POLAR_SYNC_DEMO_CUSTOMERS another number of
made-up customers than 1,000, POLAR_SYNC_DEMO_CHANGES another number of seconds than 3 after which one of them changes.

The fake server tells the site of each change by webhook. Polar cannot reach it: what it reported to the organization's
webhook endpoint, wherever that is, is read from its list of deliveries.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import IO

from project.processes import ChildDiedError, Children, StoppedError

BASE_DIR = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
USERNAME = "admin"
START_SECONDS = 60.0
CHANGE_SECONDS = 3
MISCONFIGURED = 2
INTERRUPTED = 128 + signal.SIGINT


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


def main() -> int:
    """Run the demo; 0 when it was ended while it served, 130 when before, 1 where something failed."""
    children = Children()
    demo = Demo(children)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, children.request_stop)
    try:
        demo.run()
    except StoppedError:
        return 0 if demo.is_serving else INTERRUPTED
    except (DemoError, ChildDiedError) as error:
        say(f"\nThe demo ends: {error}", to=sys.stderr)
        return 1
    finally:
        if demo.has_begun:
            say("\nEnding everything the demo started …")
        children.stop()
    return 0


def say(text: str, *, to: IO[str] | None = None) -> None:
    """Print at once, in order with what the child processes print."""
    print(text, file=to or sys.stdout, flush=True)


class Demo:
    """The steps of the demo, in order."""

    def __init__(self, children: Children) -> None:
        self.children = children
        self.is_real = bool(os.environ.get("POLAR_ACCESS_TOKEN"))
        self.port = 8000
        self.folder = Path(os.environ.get("POLAR_SYNC_WORK_DIR") or BASE_DIR / ".demo").resolve()
        self.has_begun = False
        self.is_serving = False
        self.is_mirrored = False

    def run(self) -> None:
        """All steps; returns never, but by an error or StoppedError."""
        self.port = read_number("POLAR_SYNC_DEMO_PORT", default=8000, maximum=65_535)
        require_free_port(self.port)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            require_alone(lock, folder=self.folder)
            self.has_begun = True
            self.set_environment()
            if not self.is_real:
                self.start_fake_server()
            self.make_database()
            self.mirror()
            outlook = self.follow_deliveries() if self.is_real else self.describe_changes()
            password = self.set_password()
            self.start_worker()
            self.start_site()
            self.is_serving = True
            self.say_where_to_look(password, outlook=outlook)
            while True:
                self.children.wait_a_moment()

    @property
    def url(self) -> str:
        """Where the site is served, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    def set_environment(self) -> None:
        """What the child processes read. Redis is used where CELERY_BROKER_URL says so."""
        os.chdir(BASE_DIR)
        database = self.folder / ("polar.sqlite3" if self.is_real else "made-up.sqlite3")
        os.environ.update(
            DATABASE_URL=f"sqlite:///{database}",
            DJANGO_SETTINGS_MODULE="project.settings",
            DJANGO_DEBUG="1",
            DJANGO_ALLOWED_HOSTS=f"{HOST},localhost",
            POLAR_SYNC_WORK_DIR=str(self.folder),
            # Whoever receives at the endpoint of a real organization, it is not this site.
            POLAR_FOLLOW_ALL=str(int(self.is_real)),
            PYTHONUNBUFFERED="1",
        )

    def start_fake_server(self) -> None:
        """Serve made-up customers, and point everything that follows at them.

        The receiver of the site is registered before there is a site: nobody changes until it listens.
        """
        seconds = read_number("POLAR_SYNC_DEMO_CHANGES", default=CHANGE_SECONDS, maximum=86_400)
        count = read_number("POLAR_SYNC_DEMO_CUSTOMERS", default=1000, maximum=1_000_000)
        say(
            "POLAR_ACCESS_TOKEN is not set: this is MADE-UP DATA.\n"
            f"A fake Polar server on this machine serves {count} invented customers; nothing is sent to Polar.\n"
        )
        output = self.folder / "fake-polar.json"
        arguments = ["-m", "polar_sync.testing", "--customers", str(count), "--port", "0", "--changes", str(seconds)]
        secret = f"whsec_{secrets.token_urlsafe(32)}"
        arguments += ["--webhook", f"{self.url}/polar/webhooks/default/", "--webhook-secret", secret]
        self.children.start("The fake Polar server", *arguments, output=output, log=self.folder / "fake-polar.log")
        self.children.wait_for(
            lambda: output.read_text().endswith("\n"), what="The start of the fake Polar server", seconds=START_SECONDS
        )
        server = json.loads(output.read_text().splitlines()[0])
        os.environ.update(
            POLAR_SERVER=server["url"],
            POLAR_ACCESS_TOKEN=server["access_token"],
            # Of all requests a run makes, so that it is not held up.
            POLAR_REQUESTS_PER_MINUTE="1000000",
            POLAR_WEBHOOK_SECRET=secret,
        )

    def make_database(self) -> None:
        """Create or migrate the demo's own database."""
        if self.children.run("migrate", "manage.py", "migrate", "--verbosity", "0"):
            raise DemoError("its database could not be made; see above.")

    def mirror(self) -> None:
        """Mirror the organization in the foreground, with a progress bar."""
        say("Mirroring every customer with all of its state: python manage.py polar_sync")
        status = self.children.run("polar_sync", "manage.py", "polar_sync")
        if status and (status == MISCONFIGURED or not self.is_real):
            raise DemoError(f"the organization could not be mirrored (status {status}); see above.")
        if status:
            say(f"\nNOT EVERYTHING IS MIRRORED (status {status}, see above). The site shows what there is.")
        self.is_mirrored = not status

    def follow_deliveries(self) -> str:
        """Read Polar's list of webhook deliveries once, where there is an endpoint; returns what can be expected.

        Beat goes on with it. Nothing is written on Polar.
        """
        if not self.is_mirrored:
            # Without a moment from which the list is to be read on, that would be 90 days of it.
            return "What changes on Polar is not followed before a run has succeeded."
        log = self.folder / "follow.log"
        if self.children.run("polar_sync_follow", "manage.py", "polar_sync_follow", "--once", "--all", log=log):
            error = log.read_text(errors="replace").strip().rpartition("\n")[2].partition(": ")[2]
            return (
                f"What changes on Polar comes with the next run only: {error} "
                'See "Without a public address" in the README.'
            )
        return "What changes on Polar is here a minute later: its list of webhook deliveries is followed."

    def describe_changes(self) -> str:
        """What to expect of the fake server's customers."""
        return (
            "Every few seconds a customer changes on the fake server, which tells this site by webhook. Leave the\n"
            "list of customers open: its rows change within two seconds, without a reload. What was delivered:\n"
            f"  Deliveries {self.url}/admin/polar_sync/webhookdelivery/"
        )

    def set_password(self) -> str:
        """Make the staff user, or give it a new password; returns the password."""
        # Django is set up only now, as its settings read the environment that was made above.
        import django  # noqa: PLC0415

        django.setup()
        from django.contrib.auth.models import User  # noqa: PLC0415
        from django.db import connections  # noqa: PLC0415

        user, _ = User.objects.get_or_create(username=USERNAME)
        user.is_staff = user.is_superuser = user.is_active = True
        password = secrets.token_urlsafe(12)
        user.set_password(password)
        user.save()
        connections.close_all()
        return password

    def start_worker(self) -> None:
        """Start a worker with beat in it: one process, whose threads share the request budget."""
        arguments = ("-m", "celery", "--app", "project", "worker", "--beat", "--pool", "threads", "--concurrency", "4")
        quiet = ("--loglevel", "INFO", "--without-gossip", "--without-mingle")
        self.children.start("The Celery worker", *arguments, *quiet, log=self.folder / "worker.log")

    def start_site(self) -> None:
        """Serve the site, and wait until it answers."""
        arguments = ("manage.py", "runserver", "--noreload", f"{HOST}:{self.port}")
        self.children.start("The web server", *arguments, log=self.folder / "web.log")
        self.children.wait_for(self.has_answer, what="The start of the web server", seconds=START_SECONDS)

    def has_answer(self) -> bool:
        """Whether the site's first page can be had."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def say_where_to_look(self, password: str, *, outlook: str) -> None:
        """The last words before the demo waits; `outlook` is what can be expected to change."""
        made_up = "" if self.is_real else "  The customers are MADE UP.\n"
        say(
            f"\nThe demo runs.\n{made_up}"
            f"  Start      {self.url}/\n"
            f"  Customers  {self.url}/admin/polar_sync/customer/\n"
            f"  User       {USERNAME}\n"
            f"  Password   {password}\n"
            f"  Logs       {self.folder}{os.sep}*.log\n"
            f"{outlook}\n"
            "A Celery worker repeats the run every hour. Ctrl-C ends everything."
        )


def read_number(variable: str, *, default: int, maximum: int) -> int:
    """A whole number from 1 to `maximum` of the environment."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= maximum:
        raise DemoError(f"{variable} is {text!r}; it must be a whole number from 1 to {maximum}.")
    return int(text)


def require_free_port(port: int) -> None:
    """Raise DemoError where something else serves on the demo's port."""
    with socket.socket() as probe:
        # As the web server will: a port that only waits for late packets of an earlier demo is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DemoError(
                f"port {port} of {HOST} cannot be used ({error.strerror}). "
                "End what uses it, or choose another: POLAR_SYNC_DEMO_PORT=8001 make demo"
            ) from None


def require_alone(lock: IO[str], *, folder: Path) -> None:
    """Hold the lock until the demo ends; DemoError where another demo does."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DemoError(f"another demo runs in {folder}; end it first.") from None


if __name__ == "__main__":
    sys.exit(main())
