"""JSON as the contract has it, and nothing that Python's reader accepts beyond it."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8; anything else raises ValueError with a reason safe to show.

    Refused beyond bad syntax: NaN and infinities, also as numbers too large for a float; integers and nesting beyond
    what Python reads. Escaped NULs and lone surrogates are legal text; of one key twice in an object the last holds.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_parse_float)
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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON with {name}, which is no number")


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("JSON with a number too large to keep")
    return value
