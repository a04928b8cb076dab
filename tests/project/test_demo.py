"""`make demo`, run for real: what it starts, what it shows, and that nothing outlives it."""

import http.client
import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0
HIDDEN = ("POLAR_", "DJANGO_", "CELERY_", "DATABASE_URL")


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_environment(folder: Path, **variables: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
    demo = {"POLAR_SYNC_WORK_DIR": folder, "POLAR_SYNC_DEMO_CUSTOMERS": 30, "PYTHONUNBUFFERED": 1, **variables}
    return kept | {name: str(value) for name, value in demo.items()}


@contextmanager
def run_demo(folder: Path, **variables: object) -> Iterator[subprocess.Popen[str]]:
    with (folder / "output").open("w") as output:
        demo = subprocess.Popen(
            [sys.executable, "-m", "project.demo"],
            cwd=ROOT,
            env=make_environment(folder, **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield demo
    finally:
        if demo.poll() is None:
            demo.terminate()
        demo.wait(timeout=PATIENCE)


def wait_until(condition: Callable[[], object], *, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, read_output(folder)
        time.sleep(0.1)


def read_output(folder: Path) -> str:
    return (folder / "output").read_text()


def find_processes(folder: Path) -> dict[int, str]:
    """All processes that the demo of this folder started, by their environment, and their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"POLAR_SYNC_WORK_DIR={folder}".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def log_in(port: int, password: str) -> str:
    """The admin's list of customers, as the staff user of the demo sees it."""
    site = f"http://127.0.0.1:{port}/admin"
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    browser.open(f"{site}/login/").close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = {
        "username": "admin",
        "password": password,
        "csrfmiddlewaretoken": token,
        "next": "/admin/polar_sync/customer/",
    }
    with browser.open(f"{site}/login/", data=urllib.parse.urlencode(form).encode()) as page:
        text: str = page.read().decode()
    return text


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_mirrors_serves_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    port = find_free_port()
    with run_demo(tmp_path, POLAR_SYNC_DEMO_PORT=port) as demo:
        wait_until(
            lambda: "Ctrl-C ends everything" in read_output(tmp_path) or demo.poll() is not None, folder=tmp_path
        )
        output = read_output(tmp_path)
        assert "MADE-UP DATA" in output
        assert "30 customers: 30 created" in output
        password = re.findall(r"Password +(\S+)", output)[0]
        assert "30 customers" in log_in(port, password)
        wait_until(lambda: "ready." in (tmp_path / "worker.log").read_text(), folder=tmp_path)
        started = " ".join(find_processes(tmp_path).values())
        assert all(name in started for name in ("polar_sync.testing", "celery", "runserver"))
        demo.send_signal(number)
        assert demo.wait(timeout=PATIENCE) == 0
    assert find_processes(tmp_path) == {}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
def test_demo_ends_with_the_output_of_a_process_that_died(tmp_path: Path) -> None:
    with run_demo(tmp_path, POLAR_SYNC_DEMO_PORT=find_free_port()) as demo:
        wait_until(
            lambda: "Ctrl-C ends everything" in read_output(tmp_path) or demo.poll() is not None, folder=tmp_path
        )
        wait_until(lambda: '"GET / HTTP/1.1" 200' in (tmp_path / "web.log").read_text(), folder=tmp_path)
        for pid, command in find_processes(tmp_path).items():
            if "runserver" in command:
                os.kill(pid, signal.SIGKILL)
        assert demo.wait(timeout=PATIENCE) == 1
    assert "The web server ended with status -9" in read_output(tmp_path)
    assert '"GET / HTTP/1.1" 200' in read_output(tmp_path)
    assert find_processes(tmp_path) == {}


def test_demo_says_that_its_port_is_taken_before_it_starts_anything(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with run_demo(tmp_path, POLAR_SYNC_DEMO_PORT=port) as demo:
            assert demo.wait(timeout=PATIENCE) == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in read_output(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_demo_without_a_good_token_ends_before_it_serves(tmp_path: Path) -> None:
    token = "polar_oat_with a space"
    with run_demo(tmp_path, POLAR_SYNC_DEMO_PORT=find_free_port(), POLAR_ACCESS_TOKEN=token) as demo:
        assert demo.wait(timeout=PATIENCE) == 1
    assert "MADE-UP" not in read_output(tmp_path)
    assert token not in read_output(tmp_path)
    assert "polar_sync.E006" in read_output(tmp_path)
