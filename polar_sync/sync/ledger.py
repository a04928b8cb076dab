"""Who was accounted for, and as what, where no row of the mirror may say so."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from polar_sync.payloads.values import read_uuid

DENIED = "denied"
"""Listed, but Polar said that its state does not exist; not an outcome yet."""
FAILED = "failed"


class Ledger:
    """A customer's outcome by its id, in a file of SQLite's own that goes when this does: memory stays what it is."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("")
        self._file.execute("CREATE TABLE entry (id TEXT PRIMARY KEY, outcome TEXT, reason TEXT) WITHOUT ROWID")
        self._file.execute("CREATE INDEX entry_outcome ON entry (outcome, id)")

    def close(self) -> None:
        self._file.close()

    def add(self, outcomes: Mapping[str, str], *, reasons: Mapping[str, str]) -> None:
        """Note these, instead of what was noted of them before."""
        rows = [(key, outcome, reasons.get(key, "")) for key, outcome in outcomes.items()]
        self._file.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", rows)

    def remove(self, ids: Iterable[str]) -> None:
        self._file.executemany("DELETE FROM entry WHERE id = ?", [(key,) for key in ids])

    def find(self, ids: Iterable[UUID], *, outcome: str | None = None) -> set[UUID]:
        """Those of whom something, or this, is noted."""
        statement = "SELECT 1 FROM entry WHERE id = ? AND outcome = coalesce(?, outcome)"
        return {key for key in ids if self._file.execute(statement, (str(key), outcome)).fetchone()}

    def count(self) -> Counter[str]:
        """How many of each outcome."""
        return Counter(dict(self._file.execute("SELECT outcome, count(*) FROM entry GROUP BY outcome")))

    def iterate(self, outcome: str) -> Iterator[UUID]:
        """Those of an outcome whose id is one, in the order of ids; what is noted meanwhile does no harm."""
        return (key for text, _ in self.iterate_reasons(outcome) if (key := read_uuid(text)) is not None)

    def iterate_reasons(self, outcome: str) -> Iterator[tuple[str, str]]:
        """The same as text, with the reasons."""
        last = ""
        statement = "SELECT id, reason FROM entry WHERE outcome = ? AND id > ? ORDER BY id LIMIT 500"
        while rows := self._file.execute(statement, (outcome, last)).fetchall():
            yield from rows
            last = rows[-1][0]
