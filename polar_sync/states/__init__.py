"""Where the states of listed customers come from."""

from polar_sync.states.assembly import build_object
from polar_sync.states.batch_fetcher import Mirrored, RowEstimates
from polar_sync.states.batched import BatchedSource, PartialResults
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.comparison import ABSENT, MARGIN, Difference, Verdict, compare
from polar_sync.states.per_customer import ConfirmingSource, PerCustomerSource
from polar_sync.states.reader import ListReader, ask_lists
from polar_sync.states.rules import Knowledge
from polar_sync.states.samples import find_ended
from polar_sync.states.source import Listed, StateAnswer, StateSource, stops_fetching, wait_for

__all__ = [
    "ABSENT",
    "MARGIN",
    "BatchedSource",
    "Catalogue",
    "ConfirmingSource",
    "Difference",
    "Knowledge",
    "ListReader",
    "Listed",
    "Mirrored",
    "PartialResults",
    "PerCustomerSource",
    "RowEstimates",
    "StateAnswer",
    "StateSource",
    "Verdict",
    "ask_lists",
    "build_object",
    "compare",
    "find_ended",
    "stops_fetching",
    "wait_for",
]
