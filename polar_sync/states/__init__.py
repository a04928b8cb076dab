"""Where the states of listed customers come from."""

from polar_sync.states.batched import BatchedSource
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.comparison import ABSENT, MARGIN, Difference, Verdict, compare
from polar_sync.states.confirming import ConfirmingSource
from polar_sync.states.inquiry import Densities, Mirrored
from polar_sync.states.judging import find_ended
from polar_sync.states.knowledge import Knowledge
from polar_sync.states.leftovers import Leftovers
from polar_sync.states.lists import ask_lists
from polar_sync.states.per_customer import PerCustomerSource
from polar_sync.states.reader import ListReader
from polar_sync.states.source import Listed, StateAnswer, StateSource, is_hopeless, wait_for

__all__ = [
    "ABSENT",
    "MARGIN",
    "BatchedSource",
    "Catalogue",
    "ConfirmingSource",
    "Densities",
    "Difference",
    "Knowledge",
    "Leftovers",
    "ListReader",
    "Listed",
    "Mirrored",
    "PerCustomerSource",
    "StateAnswer",
    "StateSource",
    "Verdict",
    "ask_lists",
    "compare",
    "find_ended",
    "is_hopeless",
    "wait_for",
]
