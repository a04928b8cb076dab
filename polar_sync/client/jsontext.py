"""JSON as the contract has it, and nothing that Python's reader accepts beyond it."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from polar_sync.payloads.values import UnreadableNumber


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8; anything else raises ValueError with a reason safe to show.

    Refused beyond bad syntax: NaN and infinities, and nesting beyond what Python reads. A number too large for a float
    or for Python's reader of integers becomes an `UnreadableNumber`, so that only what holds it is lost. Escaped NULs
    and lone surrogates are legal text; of one key twice in an object the last holds.
    """
    try:
        return _load(body.decode("utf-8"))
    except json.JSONDecodeError as error:
        # Not its text as it stands: `error.doc` holds the whole body.
        reason = f"no valid JSON ({error.msg} at character {error.pos} of {len(error.doc)})"
    except UnicodeDecodeError:
        reason = "no valid UTF-8"
    except RecursionError:
        reason = "JSON nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise ValueError(reason)


def _load(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float)
    except json.JSONDecodeError:
        raise
    except ValueError:
        pass  # most likely an integer that is too long
    # Not at once: a function that is called for each integer makes reading much slower.
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float, parse_int=_parse_integer)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON with {name}, which is no number")


def _parse_float(text: str) -> float | UnreadableNumber:
    value = float(text)
    return value if math.isfinite(value) else UnreadableNumber(text)


def _parse_integer(text: str) -> int | UnreadableNumber:
    try:
        return int(text)
    except ValueError:
        return UnreadableNumber(text)
