"""What a person may do about a customer: have Polar asked now, for one or for many."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial, wraps
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from kombu.exceptions import OperationalError

from polar_sync.admin.base import SYNC_PERMISSION, ModelAdmin
from polar_sync.admin.formatting import clean, format_number
from polar_sync.conf import settings
from polar_sync.exceptions import ConfigurationError
from polar_sync.models import Customer, CustomerObservation, SyncRun
from polar_sync.tasks import refresh_customer, refresh_customers

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponse]
MAX_SELECTED = 1000
"""Rows that one action takes; for more customers there is the run, which asks for a hundred in a list."""
_SINCE = "since"


def action_view(permission: str) -> Callable[[View], View]:
    """A view that is a POST by somebody who has the permission, and may view what: 403 for others, whatever the method.

    405 for what is no POST.
    """

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(admin: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not (request.user.has_perm(permission) and admin.has_view_permission(request)):
                raise PermissionDenied
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            return view(admin, request, *args, **kwargs)

        return guarded

    return guard


def enqueue(request: HttpRequest, task: Any, *arguments: Any, message: str, times: int = 1) -> None:
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


class CustomerActionsMixin(ModelAdmin):
    """The button and the action that refresh, and the small answer by which the page notices that it has happened."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:pk>/refresh/", wrap(self.refresh_view), name="polar_sync_customer_refresh"),
            path("<uuid:pk>/version.json", wrap(self.version_view), name="polar_sync_customer_version"),
            *super().get_urls(),
        ]

    def get_actions_context(self, request: HttpRequest, customer: Customer) -> dict[str, Any]:
        """What the page needs to offer the button, and to wait for what it does."""
        since = request.GET.get(_SINCE)
        name = self.admin_site.name
        refresh_url = reverse(f"{name}:polar_sync_customer_refresh", args=(customer.pk,))
        return {
            "polar_may_sync": self.has_sync_permission(request),  # type: ignore[attr-defined]
            "polar_refresh_url": self._keep_filters(request, refresh_url),
            "polar_version_url": reverse(f"{name}:polar_sync_customer_version", args=(customer.pk,)),
            "polar_version": get_version(customer),
            "polar_is_waiting": since is not None and since == get_version(customer),
        }

    def get_visible(self, request: HttpRequest, pk: Any) -> Customer:
        """The customer, for those who may view customers; 404 where there is none."""
        if not self.has_view_permission(request):
            raise Http404
        customer = self.get_object(request, str(pk))
        if customer is None:
            raise Http404
        return customer  # type: ignore[no-any-return]

    @action_view(SYNC_PERMISSION)
    def refresh_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Have one customer asked for now."""
        customer = self.get_visible(request, pk)
        page = reverse(f"{self.admin_site.name}:polar_sync_customer_change", args=(customer.pk,))
        url = self._keep_filters(request, page)
        try:
            organization = settings.get_organization(customer.organization.name)
        except ConfigurationError as error:
            tell_misconfigured(request, error)
            return redirect(url)
        note(request, [customer], "Refresh from Polar")
        text = _("A worker asks Polar about %(customer)s now; this page shows the answer when it has come.")
        enqueue(
            request,
            refresh_customer,
            organization.name,
            str(customer.pk),
            message=text % {"customer": clean(customer)},
        )
        return redirect(self._keep_filters(request, f"{page}?{urlencode({_SINCE: get_version(customer)})}"))

    def _keep_filters(self, request: HttpRequest, url: str) -> str:
        """The address with the filters of the list that one came from, so that the way back leads there."""
        return add_preserved_filters({"opts": self.opts, "preserved_filters": self.get_preserved_filters(request)}, url)

    def version_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Which observation of the customer is mirrored: changes when Polar has been heard."""
        row = CustomerObservation.objects.filter(pk=pk).first()
        if row is None or not self.has_view_permission(request):
            raise Http404
        return JsonResponse({"version": describe_version(row)}, headers={"Cache-Control": "no-store"})

    @admin.action(description=gettext_lazy("Refresh from Polar"), permissions=["sync"])
    def refresh_selected(self, request: HttpRequest, customers: QuerySet[Any]) -> None:
        """Have the selected customers asked for, one request each."""
        rows = list(customers.values_list("pk", "organization__name")[: MAX_SELECTED + 1])
        if len(rows) > MAX_SELECTED:
            text = _(
                "More than %(number)s customers are selected. Sync the organization instead: it asks for fewer pages."
            )
            self.message_user(request, text % {"number": format_number(MAX_SELECTED)}, messages.WARNING)
            return
        ids: defaultdict[str, list[str]] = defaultdict(list)
        for pk, name in rows:
            ids[name].append(str(pk))
        try:
            names = [settings.get_organization(name).name for name in ids]
        except ConfigurationError as error:
            tell_misconfigured(request, error)
            return
        chosen = Customer.all_objects.filter(pk__in=[pk for pk, _name in rows]).defer("payload")
        note(request, chosen, "Refresh from Polar")
        for name in names:
            text = ngettext(
                "A worker asks Polar about %(number)s customer of %(organization)s. Reload the list to see it.",
                "Workers ask Polar about %(number)s customers of %(organization)s. Reload the list to see them.",
                len(ids[name]),
            )
            message = text % {"number": format_number(len(ids[name])), "organization": clean(name)}
            enqueue(request, refresh_customers, name, ids[name], message=message)


def get_version(customer: Customer) -> str:
    """A text that changes with each answer of Polar's about the customer's state, also that there is none."""
    return describe_version(getattr(customer, "observation", None))


def describe_version(row: CustomerObservation | None) -> str:
    """The same, of the row that holds it."""
    times = (row.answered_at,) if row is not None else ()
    return " ".join(time.isoformat() for time in times if time is not None)
