"""Handing work to Celery from a page: nothing here waits for Polar."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial, wraps
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError

from polar_sync.admin.base import SYNC_PERMISSION
from polar_sync.admin.text import clean
from polar_sync.exceptions import ConfigurationError
from polar_sync.models import SyncRun

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponse]


def steering_view(view: View) -> View:
    """A view that is a POST by somebody who may steer, and may view what: 403 for others, whatever the method.

    405 for what is no POST.
    """

    @wraps(view)
    def guarded(admin: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not (request.user.has_perm(SYNC_PERMISSION) and admin.has_view_permission(request)):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return view(admin, request, *args, **kwargs)

    return guarded


def hand_over(request: HttpRequest, task: Any, *arguments: Any, message: str, times: int = 1) -> None:
    """Send the task after commit, and tell the person what happens next, or that the broker does not answer."""
    transaction.on_commit(
        partial(_send, request, task, arguments, message=message, times=times), using=router.db_for_write(SyncRun)
    )


def _send(request: HttpRequest, task: Any, arguments: tuple[Any, ...], *, message: str, times: int) -> None:
    try:
        for _number in range(times):
            task.apply_async(arguments)
    except OperationalError:
        logger.exception("%s could not be handed to Celery", task.name)
        text = _("Celery's broker does not answer, so that nothing was started. Its address is CELERY_BROKER_URL.")
        messages.error(request, text)
    else:
        messages.success(request, message)


def tell_misconfigured(request: HttpRequest, error: ConfigurationError) -> None:
    """Say which setting is wrong; these errors never hold a token."""
    messages.error(request, _("The settings do not allow it: %(error)s") % {"error": error})


def redirect(url: str) -> HttpResponseRedirect:
    """To be got with GET after a POST."""
    answer = HttpResponseRedirect(url)
    answer.status_code = HTTPStatus.SEE_OTHER
    return answer


def note(request: HttpRequest, rows: Iterable[Any], message: str) -> None:
    """Keep who asked for what in the history of each row, under a name that does no harm where it is shown."""
    found = list(rows)
    if not found:
        return
    kind = ContentType.objects.get_for_model(found[0])
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=int(request.user.pk or 0),
            content_type=kind,
            object_id=str(row.pk),
            object_repr=clean(row, length=200),
            action_flag=CHANGE,
            change_message=message,
        )
        for row in found
    )
