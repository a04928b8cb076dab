"""The rows of a streamed CSV export, one at a time."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator

import requests

from polar_sync.client.bodies import CHUNK

FIRST_COLUMN = "ID"
LONGEST_LINE = 1024 * 1024


def read_rows(response: requests.Response, *, redact: Callable[[str], str]) -> Iterator[dict[str, str]]:
    """Yield each row by its column names, values through `redact`; never holds more than a row and a chunk.

    ValueError (also as UnicodeDecodeError) or csv.Error for what is no such CSV, one that ends within a row included.
    Errors of urllib3 and the socket pass.
    """
    reader = csv.reader(_read_lines(response), strict=True)
    header = next(reader, None)
    if not header or header[0] != FIRST_COLUMN:
        raise ValueError(f"no CSV whose first column is {FIRST_COLUMN}")
    for row in reader:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} values under {len(header)} columns")
        yield dict(zip(header, map(redact, row), strict=True))


def _read_lines(response: requests.Response) -> Iterator[str]:
    """Yield lines with their ends: only at line feeds, as a carriage return alone belongs to a value."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield f"{line}\n"
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE} characters")
    # A body without a length that is cut ends like one that is whole, but for this.
    if rest + decoder.decode(b"", final=True):
        raise ValueError("an export that ends within a row")
