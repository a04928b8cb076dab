"""Where the states of listed customers come from."""

from polar_sync.states.batched import BatchedSource
from polar_sync.states.catalogue import Catalogue
from polar_sync.states.fields import StateFields
from polar_sync.states.inquiry import Densities, Sizes
from polar_sync.states.leftovers import Leftovers
from polar_sync.states.per_customer import PerCustomerSource
from polar_sync.states.source import Listed, StateAnswer, StateSource, is_hopeless, wait_for

__all__ = [
    "BatchedSource",
    "Catalogue",
    "Densities",
    "Leftovers",
    "Listed",
    "PerCustomerSource",
    "Sizes",
    "StateAnswer",
    "StateFields",
    "StateSource",
    "is_hopeless",
    "wait_for",
]
