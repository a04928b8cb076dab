"""Talks HTTP to Polar; knows nothing of Django."""

from __future__ import annotations

from polar_sync.client.clients import PolarClient, PortalClient
from polar_sync.client.rate_limit import RequestBudget
from polar_sync.client.responses import ListPage, PolarObject
from polar_sync.client.transport import Usage

__all__ = ["ListPage", "PolarClient", "PolarObject", "PortalClient", "RequestBudget", "Usage"]
