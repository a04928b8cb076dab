"""Errors travel: to other processes, and into what keeps them for later."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

import polar_sync
from polar_sync.conf import Mistake
from polar_sync.exceptions import PolarSyncError, RateLimitError, ValidationError
from polar_sync.payloads import Interval
from polar_sync.rest.errors import (
    ApiError,
    ConflictError,
    InsufficientScopeError,
    RequestValidationError,
    ThrottledError,
)

ARGUMENTS: dict[str, Any] = {
    "message": "It did not work.",
    "reason": "is no customer",
    "method": "GET",
    "path": "/v1/customers/",
    "status": 422,
    "error": "RequestValidationError",
    "interval": Interval.at(datetime(2026, 11, 20, tzinfo=UTC)),
    "retry_in": 1.5,
    "scopes": ["customers:read"],
    "fields": [{"loc": ["body", "email"], "msg": "no"}],
    "run_id": 7,
    "mistake": Mistake.BAD_NAME,
    "kind": "uuid_parsing",
}
API_ARGUMENTS: dict[type[Exception], tuple[Any, ...]] = {
    ConflictError: ("RunActive", "A run is under way."),
    InsufficientScopeError: (["customers:read"],),
    RequestValidationError: ([{"loc": ["body", "email"], "msg": "no"}],),
    ThrottledError: (1.5,),
}
Again = Callable[[BaseException], Any]


def find_errors() -> Iterator[type[Exception]]:
    """Every class of an error in the package, but for the fake server's."""
    for module in pkgutil.walk_packages(polar_sync.__path__, "polar_sync."):
        if module.name.startswith(("polar_sync.testing", "polar_sync.migrations")) or module.name.endswith("__main__"):
            continue
        for each in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(each) and issubclass(each, Exception) and each.__module__ == module.name:
                yield each


def make(kind: type[Exception]) -> Exception:
    if kind is ApiError:
        return kind(404, {"detail": "Not Found"}, headers={"Allow": "GET"})
    if issubclass(kind, ApiError):
        return kind(*API_ARGUMENTS.get(kind, ()))
    if not any("__init__" in vars(each) for each in kind.__mro__ if each.__module__.startswith("polar_sync")):
        return kind("It did not work.")
    names = {
        name for each in kind.__mro__ for name in inspect.getfullargspec(vars(each).get("__init__", make)).kwonlyargs
    }
    first = "reason" if "reason" in inspect.signature(kind).parameters else "message"
    return kind(ARGUMENTS[first], **{name: ARGUMENTS[name] for name in names & ARGUMENTS.keys()})


def make_ways() -> Iterator[tuple[str, Again]]:
    yield "copy", copy.copy
    yield "deepcopy", copy.deepcopy
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        dump = partial(pickle.dumps, protocol=protocol)
        yield f"pickle {protocol}", lambda error, dump=dump: pickle.loads(dump(error))  # type: ignore[misc]


WAYS = dict(make_ways())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("kind", list(find_errors()), ids=lambda kind: kind.__name__)
def test_error_arrives_as_it_was_sent(kind: type[Exception], way: Again) -> None:
    error = make(kind)
    error.add_note("while a customer was refreshed")
    again = way(error)
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.args == error.args
    assert vars(again) == vars(error)


def test_all_errors_are_found() -> None:
    found = set(find_errors())
    assert {ValidationError, RateLimitError} < found
    assert {"SettingError", "LeaseLostError", "ConcurrentChangeError"} <= {kind.__name__ for kind in found}
    assert len([kind for kind in found if issubclass(kind, PolarSyncError)]) >= 20
