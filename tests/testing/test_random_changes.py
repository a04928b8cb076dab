from __future__ import annotations

from collections import Counter

from polar_sync.testing import FakePolar
from polar_sync.testing.random_changes import RECENT, RandomChanges
from polar_sync.testing.sender import Response
from tests.sync.socketless import read_polar

KINDS = {"rename", "sign up", "subscribe", "cancel", "uncancel", "grant", "revoke a grant", "use"}


def test_every_kind_of_change_is_made_and_told_and_nobody_is_deleted() -> None:
    polar = FakePolar.generate(seed=1, customers=40)
    before = set(polar.customers)
    polar.webhooks.post = lambda *_: Response(200, None)
    polar.webhooks.add_endpoint("http://127.0.0.1:9/hook")
    changes = RandomChanges(polar, seed=1)
    made = Counter(changes.make() for _ in range(400))
    polar.webhooks.wait_until_sent()
    assert set(made) == KINDS
    assert before <= set(polar.customers)
    assert len(polar.customers) == 40 + made["sign up"]
    told = Counter(one.type for one in polar.webhooks.events)
    assert told["customer.updated"] == made["rename"]
    assert told["customer.created"] == made["sign up"]
    assert told["subscription.created"] == made["subscribe"]
    assert told["customer.state_changed"] >= 400


def test_same_seed_makes_the_same_changes() -> None:
    def play() -> list[str]:
        changes = RandomChanges(FakePolar.generate(seed=1, customers=30), seed=7)
        return [changes.make() for _ in range(50)]

    assert play() == play()


def test_half_of_the_changes_are_of_those_whom_lists_show_first() -> None:
    polar = FakePolar.generate(seed=1, customers=400)
    known = read_polar(polar)
    changes = RandomChanges(polar, seed=1)
    for _ in range(100):
        changes.make()
    changed = {key for key, state in read_polar(polar).items() if known.get(key) != state}
    latest = polar.customers[-2 * RECENT :]
    assert len(changed.intersection(latest)) > RECENT / 2
    assert len(changed.difference(latest)) > RECENT


def test_whoever_is_deleted_meanwhile_is_left_alone() -> None:
    polar = FakePolar.generate(seed=1, customers=3)
    changes = RandomChanges(polar, seed=1)
    for key in polar.customers:
        polar.delete_customer(key)
    assert changes.make() == ""
