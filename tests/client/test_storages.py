from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from limits.storage import MemoryStorage, RedisStorage

from polar_sync.client import RequestBudget
from polar_sync.exceptions import BudgetStorageError, BudgetWaitError, ConfigurationError

OPEN = threading.Event()
ASK = """
import sys, threading
from polar_sync.client import RequestBudget
from polar_sync.exceptions import BudgetWaitError

budget = RequestBudget(organization=sys.argv[1], requests_per_minute=30, storage=sys.argv[2], max_wait=0)
let_through = 0
for _ in range(25):
    try:
        budget.acquire(closed=threading.Event())
    except BudgetWaitError:
        continue
    let_through += 1
print(let_through)
"""


def test_processes_that_share_a_redis_share_the_budget(redis_url: str, organization: str) -> None:
    arguments = [sys.executable, "-W", "error", "-c", ASK, organization, redis_url]
    processes = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(process.communicate(timeout=30)[0]) for process in processes]
    assert sum(counts) == 30
    assert {process.returncode for process in processes} == {0}


def make_redis_budget(organization: str, redis_url: str, *, amount: int = 2) -> RequestBudget:
    # A storage of its own, as another process would have.
    storage = RedisStorage(redis_url, key_prefix="polar_sync")
    return RequestBudget(organization=organization, requests_per_minute=amount, storage=storage, max_wait=0)


def test_pause_is_shared_through_redis_and_never_shortened(redis_url: str, organization: str) -> None:
    first, second = (make_redis_budget(organization, redis_url) for _ in range(2))
    first.pause(20)
    second.pause(10)
    assert second.get_wait() == pytest.approx(20, abs=5)
    with pytest.raises(BudgetWaitError):
        second.acquire(closed=OPEN)
    second.pause(40)
    assert first.get_wait() == pytest.approx(40, abs=5)


def test_pause_in_redis_ends_by_itself(redis_url: str, organization: str) -> None:
    budget = make_redis_budget(organization, redis_url)
    budget.pause(0.05)
    budget.pause(0)
    assert budget.get_wait() > 0
    time.sleep(0.06)
    assert budget.acquire(closed=OPEN) == 0


def test_concurrent_pauses_end_with_the_longest(redis_url: str, organization: str) -> None:
    budgets = [make_redis_budget(organization, redis_url) for _ in range(8)]
    threads = [threading.Thread(target=budget.pause, args=(10 + n,)) for n, budget in enumerate(budgets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budgets[0].get_wait() == pytest.approx(17, abs=5)


def test_window_in_redis_tells_its_wait(redis_url: str, organization: str) -> None:
    budget = make_redis_budget(organization, redis_url)
    assert budget.get_wait() == 0
    for _ in range(2):
        budget.acquire(closed=OPEN)
    assert budget.get_wait() == pytest.approx(61, abs=5)


def test_keys_in_redis_expire_and_hold_the_name_only(redis_url: str, organization: str) -> None:
    redis = pytest.importorskip("redis")
    budget = make_redis_budget(organization, redis_url)
    budget.acquire(closed=OPEN)
    budget.pause(5)
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        keys = list(connection.scan_iter(f"*{organization}*", count=1000))
        assert len(keys) == 2
        for key in keys:
            assert key.startswith("polar_sync:")
            assert 0 < connection.ttl(key) <= 61


@pytest.mark.parametrize("ask", ["acquire", "pause", "get_wait"])
def test_redis_that_is_not_there_is_an_error_and_no_free_pass(organization: str, ask: str) -> None:
    pytest.importorskip("redis")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://:secretpassword@127.0.0.1:{unused.getsockname()[1]}/0"
        # One attempt: the client of redis would wait a second before its last.
        storage = RedisStorage(url, retry=None)  # type: ignore[arg-type]
        budget = RequestBudget(organization=organization, requests_per_minute=5, storage=storage)
        calls = {
            "acquire": lambda: budget.acquire(closed=OPEN),
            "pause": lambda: budget.pause(1),
            "get_wait": budget.get_wait,
        }
        with pytest.raises(BudgetStorageError, match="THROTTLE_STORAGE") as caught:
            calls[ask]()
    assert not caught.value.permanent
    assert "secretpassword" not in f"{caught.value}{budget!r}"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "nonsense",
        "nonsense://user:secretpassword@host",
        "redis://user:secretpassword@host:port/0",
        "redis://user:secretpassword@[::1/0",
        "memcached://user:secretpassword@127.0.0.1:1",
    ],
)
def test_storage_that_cannot_hold_a_budget_is_refused_without_showing_its_password(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="redis://") as caught:
        RequestBudget(organization="x", requests_per_minute=1, storage=uri)
    assert "secretpassword" not in str(caught.value)
    assert caught.value.__context__ is None


def test_budgets_with_one_storage_given_are_one(organization: str) -> None:
    storage = MemoryStorage()
    first, second = (
        RequestBudget(organization=organization, requests_per_minute=1, storage=storage, max_wait=0) for _ in range(2)
    )
    first.acquire(closed=OPEN)
    with pytest.raises(BudgetWaitError):
        second.acquire(closed=OPEN)
    first.pause(90)
    assert second.get_wait() > 80
    other = RequestBudget(organization=organization, requests_per_minute=1, storage=MemoryStorage())
    assert other.get_wait() == 0


def report_wait(budget: RequestBudget, results: multiprocessing.Queue[float]) -> None:
    results.put(budget.acquire(closed=threading.Event()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_has_memory_of_its_own(organization: str) -> None:
    budget = RequestBudget(organization=organization, requests_per_minute=1, max_wait=0)
    budget.acquire(closed=OPEN)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=report_wait, args=(budget, results))
    child.start()
    assert results.get(timeout=10) == 0
    child.join(timeout=10)
    assert child.exitcode == 0


def test_budget_leaves_no_thread_and_no_warning_behind() -> None:
    script = (
        "import threading, time\n"
        "from polar_sync.client import RequestBudget\n"
        "budget = RequestBudget(organization='x', requests_per_minute=50)\n"
        "[budget.acquire(closed=threading.Event()) for _ in range(50)]\n"
        "time.sleep(0.1)\n"
        "print(threading.active_count())\n"
    )
    arguments = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout.strip(), done.stderr) == ("1", "")
