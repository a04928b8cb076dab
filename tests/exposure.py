"""All that an error can show: what logs, error mails and error trackers may keep of it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from django.views.debug import ExceptionReporter

# Of what only passes through, such as a fixture: its frames are not those of the package.
FOREIGN = ("tests.", "_pytest.", "pytest", "pluggy.")
# Whose objects are looked into.
OPENED = ("polar_sync", "requests", "urllib3", "http", "builtins")


def expose(error: BaseException) -> str:
    """Everything that can be reached from an error, as text: its own and its frames' values, however deep.

    The frames of the tests themselves, which hold the secrets that they look for, are left out.
    """
    for each in _walk_errors(error):
        each.__traceback__ = _cut(each.__traceback__)
    shown: list[str] = []
    seen: dict[int, Any] = {}
    queue: list[Any] = list(_walk_errors(error))
    while queue:
        each = queue.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        shown.append(_show(each))
        queue += _list_inner(each)
    return "\n".join([*shown, *_report(error)])


def _show(value: Any) -> str:
    try:
        return repr(value) if isinstance(value, bytes) else f"{value!s} {value!r}"
    except Exception as error:  # noqa: BLE001 - such as of an object that was never quite made
        return repr(error)


def _walk_errors(error: BaseException | None) -> Iterator[BaseException]:
    queue, seen = [error], set()
    while queue:
        each = queue.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            queue += [each.__cause__, each.__context__]


def _cut(found: TracebackType | None) -> TracebackType | None:
    frames = []
    while found is not None:
        if not found.tb_frame.f_globals.get("__name__", "").startswith(FOREIGN):
            frames.append(found)
        found = found.tb_next
    cut = None
    for each in reversed(frames):
        cut = TracebackType(cut, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return cut


def _list_inner(value: Any) -> list[Any]:
    inner: list[Any] = []
    if isinstance(value, BaseException):
        inner += [*value.args, *getattr(value, "__notes__", []), value.__traceback__]
    elif isinstance(value, TracebackType):
        inner += [value.tb_frame, value.tb_next]
    elif isinstance(value, FrameType):
        inner += value.f_locals.values()
    elif isinstance(value, dict):
        inner += [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner += value
    if type(value).__module__.startswith(OPENED) and hasattr(value, "__dict__"):
        inner += vars(value).values()
    return inner


def _report(error: BaseException) -> list[str]:
    reporter = ExceptionReporter(None, type(error), error, error.__traceback__)
    captured = traceback.TracebackException.from_exception(error, capture_locals=True)
    return [reporter.get_traceback_html(), reporter.get_traceback_text(), *captured.format()]
