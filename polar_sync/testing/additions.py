"""Fields that this server has and the contract does not know, as Polar adds them without notice."""

from __future__ import annotations

from typing import Any, Literal, get_args

Kind = Literal["subscription", "subscription_meter", "grant", "meter", "customer"]
Where = Literal["both", "states", "lists"]
Place = Literal["states", "lists"]
PLACES: tuple[Place, ...] = get_args(Place)
STATE_ARRAYS: tuple[tuple[str, Kind], ...] = (
    ("active_subscriptions", "subscription"),
    ("granted_benefits", "grant"),
    ("active_meters", "meter"),
)


class FieldAdditions:
    """What every object of a kind carries beside its own fields, in states, in lists or in both."""

    def __init__(self) -> None:
        self._fields: dict[tuple[Kind, Place], dict[str, Any]] = {}

    def add(self, kind: Kind, name: str, value: Any, *, where: Where) -> None:
        """Give all objects of this kind one more field; an unknown kind or place is a `ValueError`."""
        if kind not in get_args(Kind):
            raise ValueError(f"{kind!r} is no kind of object; there are {', '.join(get_args(Kind))}")
        if where not in get_args(Where):
            raise ValueError(f"{where!r} is no place for a field; there are {', '.join(get_args(Where))}")
        for place in PLACES:
            if where in {"both", place}:
                self._fields.setdefault((kind, place), {})[name] = value

    def extend(self, kind: Kind, place: Place, value: Any) -> Any:
        """The object with its further fields; the very same where it has none or is no object."""
        fields = self._fields.get((kind, place))
        return {**value, **fields} if fields and isinstance(value, dict) else value

    def extend_subscription(self, place: Place, value: Any) -> Any:
        """A subscription and its meters with their further fields."""
        meters = value.get("meters") if isinstance(value, dict) else None
        if isinstance(meters, list) and ("subscription_meter", place) in self._fields:
            value = {**value, "meters": [self.extend("subscription_meter", place, one) for one in meters]}
        return self.extend("subscription", place, value)

    def extend_state(self, state: Any) -> Any:
        """A whole state with all further fields; the very same where there are none."""
        if not self._fields or not isinstance(state, dict):
            return state
        extended = dict(state)
        for name, kind in STATE_ARRAYS:
            if isinstance(state.get(name), list):
                extended[name] = [self._extend_child(kind, one) for one in state[name]]
        return self.extend("customer", "states", extended)

    def _extend_child(self, kind: Kind, value: Any) -> Any:
        if kind == "subscription":
            return self.extend_subscription("states", value)
        return self.extend(kind, "states", value)
