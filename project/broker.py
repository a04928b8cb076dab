"""The embedded broker: kombu's folder of messages, made safe to read while it is written to.

kombu opens a message under its final name and fills it then. A worker that looks in between takes an empty message,
fails to decode it and ends: about one message in a thousand where a worker is busy. Here a message gets its name when
it is complete. https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.filesystem.html
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """A channel whose messages appear all at once."""

    # The two classes of kombu above this one name the second argument differently.
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        # kombu reads in the order of the names, and only names that end in the queue's.
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        unfinished = Path(self.data_folder_out) / f"{name}.unfinished"
        unfinished.write_text(dumps(payload))
        unfinished.replace(unfinished.with_name(name))


class Transport(filesystem.Transport):
    """kombu's filesystem transport with that channel."""

    Channel = Channel
