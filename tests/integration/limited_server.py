"""The fake Polar server in a process of its own, with minutes of 3.5 seconds; says at its end what it was asked."""

import json
import sys
from datetime import timedelta

from polar_sync.testing import FakePolar, FakePolarServer, app
from polar_sync.testing import __main__ as command

# The workers' last 5: on a busy machine a request that was counted at once may arrive more than a second later, with
# those that were counted then.
MINUTE = timedelta(seconds=3.5)


def main() -> None:
    app.WINDOW = MINUTE
    served: list[FakePolar] = []
    describe = command.describe

    def note_and_describe(server: FakePolarServer) -> dict[str, str | int]:
        served.append(server.polar)
        return describe(server)

    command.describe = note_and_describe
    command.main()
    (polar,) = served
    asked = {"rate_limited": polar.rate_limited, "counts": polar.counts, "requests": len(polar.requests)}
    sys.stdout.write(json.dumps(asked) + "\n")


if __name__ == "__main__":
    main()
