"""`make demo`, run for real: what it starts, what it shows, and that nothing outlives it."""

import http.cookiejar
import json
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

from polar_sync.testing import FakePolar, FakePolarServer
from polar_sync.testing.sender import Response
from tests.services import miss

try:
    from tests.admin.browsing import CHROMIUM, Watched, open_browser
except ModuleNotFoundError:
    CHROMIUM = None

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0
LAST_WORDS = "Ctrl-C ends everything"
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


def read_password(folder: Path) -> str:
    """Of the staff user, as the demo said it."""
    password: str = re.findall(r"Password +(\S+)", read_output(folder))[0]
    return password


def start_to_watch(folder: Path, demo: subprocess.Popen[str]) -> None:
    """Wait until the demo has said its last words, or has ended."""
    wait_until(lambda: LAST_WORDS in read_output(folder) or demo.poll() is not None, folder=folder)


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


def rename(folder: Path, key: str, name: str) -> float:
    """Change a customer on the fake server of the demo, as any program can; gives when that was asked for."""
    server = json.loads((folder / "fake-polar.json").read_text().splitlines()[0])
    request = urllib.request.Request(
        f"{server['url']}/v1/customers/{key}",
        data=json.dumps({"name": name}).encode(),
        method="PATCH",
        headers={"Authorization": f"Bearer {server['access_token']}", "Content-Type": "application/json"},
    )
    asked_at = time.time()
    urllib.request.urlopen(request, timeout=PATIENCE).close()
    return asked_at


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_mirrors_serves_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    port = find_free_port()
    with run_demo(tmp_path, POLAR_SYNC_DEMO_PORT=port) as demo:
        start_to_watch(tmp_path, demo)
        output = read_output(tmp_path)
        assert "MADE-UP DATA" in output
        assert "30 customers: 30 created" in output
        # Newcomers may have come meanwhile.
        assert re.search(r"\b3\d customers", log_in(port, read_password(tmp_path)))
        wait_until(lambda: "ready." in (tmp_path / "worker.log").read_text(), folder=tmp_path)
        started = " ".join(find_processes(tmp_path).values())
        assert all(name in started for name in ("polar_sync.testing", "celery", "runserver"))
        demo.send_signal(number)
        assert demo.wait(timeout=PATIENCE) == 0
    assert find_processes(tmp_path) == {}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
def test_demo_ends_with_the_output_of_a_process_that_died(tmp_path: Path) -> None:
    with run_demo(tmp_path, POLAR_SYNC_DEMO_PORT=find_free_port()) as demo:
        start_to_watch(tmp_path, demo)
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


NAME = "Renamed on the fake server"
NOTE_WHEN_SHOWN = """name => {
    window.stayed = true;
    window.shownAt = 0;
    new MutationObserver(() => {
        if (document.querySelector("#result_list").textContent.includes(name)) window.shownAt ||= Date.now() / 1000;
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
# Two seconds, and what a machine with much else to do takes longer.
ON_TIME = 2.0 + 3.0


def test_customer_who_changes_on_the_fake_server_changes_in_the_open_list(tmp_path: Path) -> None:
    if CHROMIUM is None:
        miss("Chromium or playwright is absent")
    port = find_free_port()
    with run_demo(tmp_path, POLAR_SYNC_DEMO_PORT=port) as demo, open_browser(tmp_path / "profile") as browser:
        start_to_watch(tmp_path, demo)
        assert "its rows change within two seconds" in read_output(tmp_path)
        wait_until(lambda: "ready." in (tmp_path / "worker.log").read_text(), folder=tmp_path)
        watched = Watched(browser)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"http://127.0.0.1:{port}/admin/login/?next=/admin/polar_sync/customer/")
        page.fill("#id_username", "admin")
        page.fill("#id_password", read_password(tmp_path))
        page.click("input[type=submit]")
        key = page.locator("#result_list .action-select").nth(3).input_value()
        page.evaluate(NOTE_WHEN_SHOWN, NAME)
        asked_at = rename(tmp_path, key, NAME)
        page.wait_for_function("window.shownAt > 0")
        assert page.evaluate("window.shownAt") - asked_at <= ON_TIME
        # Others change by themselves: rows that came by no rename of ours.
        page.wait_for_function("document.querySelectorAll('#result_list tr.polar-changed').length > 0")
        assert page.evaluate("window.stayed") is True, "the page was loaded anew"
        assert watched.complaints == []


@pytest.mark.parametrize("has_endpoint", [True, False])
def test_real_organization_is_followed_by_its_list_of_deliveries(tmp_path: Path, has_endpoint: bool) -> None:
    polar = FakePolar.generate(seed=1, customers=20)
    polar.webhooks.post = lambda *_: Response(200, None)

    def rename_and_deliver() -> None:
        polar.update_customer(polar.customers[0], name=NAME)
        polar.webhooks.wait_until_sent()

    if has_endpoint:
        polar.webhooks.add_endpoint("https://example.com/takes-everything/")
    with FakePolarServer(polar) as server:
        given = {"POLAR_ACCESS_TOKEN": polar.access_token, "POLAR_SERVER": server.url}
        # After the run, which would show it too.
        polar.before("webhooks:list_webhook_deliveries", rename_and_deliver)
        with run_demo(tmp_path, POLAR_SYNC_DEMO_PORT=find_free_port(), **given) as demo:
            start_to_watch(tmp_path, demo)
    output = read_output(tmp_path)
    assert "MADE-UP" not in output
    assert polar.access_token not in output
    assert not {request.method for request in polar.requests} - {"GET"}, "something was written on Polar"
    if has_endpoint:
        assert "its list of webhook deliveries is followed" in output
        assert "2 new events on 1 pages" in (tmp_path / "follow.log").read_text()
    else:
        assert output.count("webhook") == 2
        assert "comes with the next run only: 'default' has 0 webhook endpoints on Polar" in output
        assert "WARN" not in output
