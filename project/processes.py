"""The processes that the demo starts, none of which may outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

GRACE_SECONDS = 15.0
POLL_SECONDS = 0.1
SHOWN_LINES = 40


class ChildDiedError(Exception):
    """A process that should go on has ended; the message says which, how, and the last lines of its output."""


class StoppedError(Exception):
    """Somebody asked the demo to end."""


class Child:
    """A Python process in a group of its own, so that it and all it starts can be ended together.

    Its output goes to `log`, or to the demo's own where that is None.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, log: Path | None, output: Path | None = None) -> None:
        self.name = name
        self.log = log
        self._streams = [path.open("wb") for path in (output, log) if path is not None]
        self._process = subprocess.Popen(  # noqa: S603 - the demo's own arguments
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._streams[0] if self._streams else None,
            stderr=self._streams[-1] if self._streams else None,
            start_new_session=True,
        )

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def require_running(self) -> None:
        """Raise ChildDiedError where it has ended."""
        status = self.poll()
        if status is not None:
            raise ChildDiedError(f"{self.name} ended with status {status}.{self._get_last_lines()}")

    def send(self, number: signal.Signals) -> None:
        """Signal it and everything it started, whether it still runs itself or not."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            # The whole group is gone, which is what every signal sent here is for.
            return

    def is_group_alive(self) -> bool:
        """Whether it or anything it started still runs."""
        self.poll()
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """Reap it, and let go of its logs."""
        self._process.wait()
        for stream in self._streams:
            stream.close()

    def _get_last_lines(self) -> str:
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        return "".join(f"\n    {line}" for line in ["Its last lines:", *lines])


class Children:
    """All processes of the demo. `stop` ends them; a signal to the demo ends every wait with StoppedError."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self.is_stopping = False

    def start(self, name: str, *arguments: str, log: Path | None, output: Path | None = None) -> Child:
        """Start a process that goes on until `stop`."""
        child = Child(name, arguments, log=log, output=output)
        self._children.append(child)
        return child

    def run(self, name: str, *arguments: str, log: Path | None = None) -> int:
        """Run a process to its end, with the demo's output or into `log`, and give its exit status."""
        child = self.start(name, *arguments, log=log)
        while child.poll() is None:
            self.wait_a_moment(except_for=child)
        self._children.remove(child)
        child.close()
        return child.poll() or 0

    def wait_for(self, condition: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Wait until `condition` holds; ChildDiedError where a process ends before, or it takes longer."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ChildDiedError(f"{what} took longer than {seconds:g} seconds.")
            self.wait_a_moment()

    def wait_a_moment(self, *, except_for: Child | None = None) -> None:
        """Sleep shortly; StoppedError when asked to end, ChildDiedError when another process than this one has."""
        if self.is_stopping:
            raise StoppedError
        for child in self._children:
            if child is not except_for:
                child.require_running()
        time.sleep(POLL_SECONDS)

    def request_stop(self, *_: object) -> None:
        """Let the present wait, or the next, raise StoppedError; a signal handler."""
        self.is_stopping = True

    def stop(self) -> None:
        """End all, the latest first, with all they started; those that do not go by themselves are killed."""
        running = self._children[::-1]
        self._children = []
        for child in running:
            # A command in the foreground expects Ctrl-C, and tells what becomes of its work.
            child.send(signal.SIGINT if child.log is None else signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(child.is_group_alive() for child in running) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for child in running:
            child.send(signal.SIGKILL)
            child.close()
