"""Bodies as they come in: bounded in time and size, or row by row."""

from __future__ import annotations

import time

import requests
from urllib3.exceptions import DecodeError

LARGEST_BODY = 64 * 1024 * 1024
CHUNK = 64 * 1024


def read_body(response: requests.Response, *, deadline: float) -> bytes:
    """Read the whole body, decoded; `deadline` is a time of `time.monotonic()`.

    TimeoutError past the deadline: a read timeout alone never ends a body that trickles in. OverflowError beyond
    `LARGEST_BODY`, DecodeError for broken compression; other errors of urllib3 and the socket pass too.
    """
    pieces: list[bytes] = []
    size = 0
    # read1 returns what has arrived; read would wait until the whole chunk has.
    while piece := response.raw.read1(CHUNK, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_BODY:
            raise OverflowError(f"more than {LARGEST_BODY} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("the body came in too slowly")
    return b"".join(pieces)


def describe_defect(error: DecodeError | OverflowError) -> str:
    """Return what is wrong with a body that arrived and cannot be used."""
    return "its compression is broken" if isinstance(error, DecodeError) else f"it has {error}"
