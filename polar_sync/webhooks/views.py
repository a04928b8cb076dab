"""The receiver: verify, keep, acknowledge, have it processed. https://polar.sh/docs/integrate/webhooks/delivery."""

from __future__ import annotations

import logging

from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from polar_sync import sync, tasks
from polar_sync.conf import settings
from polar_sync.exceptions import PayloadError, SignatureError
from polar_sync.models import WebhookDelivery
from polar_sync.webhooks.signatures import ID, verify

logger = logging.getLogger(__name__)

ACCEPTED, BAD_REQUEST, FORBIDDEN, NOT_FOUND, TOO_LARGE = 202, 400, 403, 404, 413


@csrf_exempt
@require_POST
@transaction.non_atomic_requests(using=router.db_for_write(WebhookDelivery))
def receive(request: HttpRequest, organization: str) -> HttpResponse:
    """Keep a delivery and answer 202, also for one that was kept before; nothing that is not verified is kept.

    404 for an organization that the settings do not name or give no secret, 413 for a body of more than
    `WEBHOOK_MAX_BODY_BYTES`, 403 where the signature is not Polar's, 400 where what it signed is no event.
    """
    entry = settings.organizations.get(organization)
    if entry is None or not entry.webhook_secrets:
        return _refuse(NOT_FOUND, organization, "no organization of the settings with WEBHOOK_SECRETS has this name")
    body = _read_body(request, at_most=settings.webhook_max_body_bytes)
    if body is None:
        return _refuse(TOO_LARGE, organization, "the body is larger than WEBHOOK_MAX_BODY_BYTES")
    try:
        verify(body, request.headers, secrets=entry.webhook_secrets, tolerance=settings.webhook_tolerance)
        event = sync.read_event(body.decode())
    except SignatureError as error:
        return _refuse(FORBIDDEN, organization, str(error))
    except PayloadError as error:
        return _refuse(BAD_REQUEST, organization, str(error))
    row = sync.get_organization_row(entry)
    kept = sync.keep_delivery(row, webhook_id=request.headers[ID], body=body.decode(), event=event)
    if kept is not None and not (tasks.has_workers() and sync.is_announced(kept)):
        tasks.enqueue_processing(entry.name)
    return JsonResponse({"status": "known" if kept is None else "received"}, status=ACCEPTED)


def _read_body(request: HttpRequest, *, at_most: int) -> bytes | None:
    """The body; None where it is larger, of which no more than that is read, or where the sender broke off."""
    try:
        declared = int(request.headers.get("Content-Length") or 0)
        body = request.read(at_most + 1) if declared <= at_most else None
    except (ValueError, UnreadablePostError):
        return None
    return body if body is not None and len(body) <= at_most else None


def _refuse(status: int, organization: str, reason: str) -> HttpResponse:
    logger.warning("A webhook delivery for %r was refused with %s: %s", organization[:200], status, reason)
    return JsonResponse({"detail": reason[:1].upper() + reason[1:]}, status=status)
