"""Why a request got no answer, in words that hold no token, no query and no proxy password."""

from __future__ import annotations

import ssl

from requests import exceptions as http
from urllib3.exceptions import LocationValueError

# requests lets urllib3's own complaint about a host pass.
UNUSABLE_ADDRESS = (http.InvalidURL, http.InvalidSchema, http.MissingSchema, LocationValueError)


def describe_failure(error: Exception, *, connect_timeout: float, read_timeout: float) -> str:
    """Return the cause of an error of requests, urllib3 or the socket.

    Their own texts and attributes are not for passing on: they carry the URL with its query, and the request with
    its Authorization header.
    """
    match error:
        case http.ConnectTimeout():
            return f"no connection within {connect_timeout:g} s"
        case http.Timeout():
            return f"no answer within {read_timeout:g} s"
        case http.ProxyError():
            return f"the proxy does not let it through ({_find_reason(error)})"
        case http.SSLError():
            return f"the server's certificate or TLS is not acceptable ({_find_reason(error)})"
        case TimeoutError():
            return "the answer did not come to an end in time"
        case _:
            return f"the connection failed or was cut ({_find_reason(error)})"


def _find_reason(error: BaseException) -> str:
    found = type(error).__name__
    for each in _walk(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
        found = type(each).__name__
    return found


def _walk(error: BaseException) -> list[BaseException]:
    """Return the error and those it wraps: libraries put them into args, `reason`, `__cause__` and `__context__`."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        each = queue.pop(0)
        if isinstance(each, BaseException) and not any(each is known for known in seen):
            seen.append(each)
            queue += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
    return seen
