"""A mirrored customer, when Polar last told us of it, and the query set that tells living from deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models.fields.json import KT
from django.db.models.functions import Left, Upper
from django.utils.translation import gettext_lazy as _

from polar_sync.models.base import PolarModel, sort_by_age
from polar_sync.models.subscription import Subscription
from polar_sync.models.tables import Table, get_nested_tables, get_state_tables, list_prefetched
from polar_sync.payloads import load_canonical, project_key

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class CustomerQuerySet(models.QuerySet["Customer"]):
    """Questions that are asked of customers."""

    def with_external_id(self, external_id: str | int | UUID) -> Self:
        """Those that carry your own id. Case-sensitive, as on Polar; a deleted customer's may have been given again."""
        return self.filter(external_id=project_key(str(external_id)))

    def active(self) -> Self:
        """Those with an active or trialing subscription, each once."""
        present = Subscription.objects.filter(customer=models.OuterRef("pk")).present()
        return self.filter(models.Exists(present))

    def with_state(self) -> Self:
        """Prefetch what `Customer.state` needs: four queries, whatever the number of customers."""
        return self.prefetch_related(*list_prefetched())


class LivingManager(models.Manager.from_queryset(CustomerQuerySet)):  # type: ignore[misc]
    """Leaves out customers that were deleted on Polar."""

    def get_queryset(self) -> CustomerQuerySet:
        return super().get_queryset().filter(deleted_at=None)  # type: ignore[no-any-return]


class Customer(PolarModel):
    """A customer as https://polar.sh/docs/api-reference/customers/get tells of it.

    `Customer.objects` are the living ones; `Customer.all_objects`, the default manager, has every row. Text columns
    that are indexed hold 512 characters at most; `to_polar()` and `state()` give everything back.
    """

    organization = models.ForeignKey(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        to_field="polar_id",
        on_delete=models.PROTECT,
        related_name="customers",
        db_index=False,  # the composite indexes below begin with it
    )
    external_id = models.TextField(_("external id"), null=True)
    email = models.TextField(_("email"), null=True)
    email_verified = models.BooleanField(_("email verified"), null=True)
    type = models.TextField(_("type"), null=True)
    name = models.TextField(_("name"), null=True)
    billing_name = models.TextField(_("billing name"), null=True)
    billing_address = models.JSONField(_("billing address"), null=True)
    tax_id = models.JSONField(_("tax id"), null=True)
    locale = models.TextField(_("locale"), null=True)
    metadata = models.JSONField(_("metadata"), null=True)
    default_payment_method_id = models.UUIDField(_("default payment method id"), null=True)
    first_user_event_at = models.DateTimeField(_("first user event at"), null=True)
    avatar_url = models.TextField(_("avatar URL"), null=True)
    deleted_at = models.DateTimeField(_("deleted at"), null=True)
    synced_at = models.DateTimeField(
        _("synced at"), null=True, help_text=_("When anything of the customer's state last changed here.")
    )
    scrubbed_at = models.DateTimeField(
        _("scrubbed at"), null=True, help_text=_("When what tells of a person was removed after the deletion.")
    )
    # Keys that the contract does not name, apart by where Polar shows them, so that neither leaks into the other.
    extra = models.TextField(_("further fields"), default="", blank=True, editable=False)
    state_extra = models.TextField(_("further fields of the state"), default="", blank=True, editable=False)

    all_objects = models.Manager.from_queryset(CustomerQuerySet)()
    objects = LivingManager()

    class Meta:
        verbose_name = _("customer")
        verbose_name_plural = _("customers")
        default_manager_name = "all_objects"
        base_manager_name = "all_objects"
        permissions = (
            ("write_customer_to_polar", _("Can create, change and delete customers on Polar")),
            ("export_customers", _("Can export customers and what they have")),
        )
        indexes = (
            models.Index(fields=("organization", "created_at", "id"), name="polar_customer_organization"),
            # Without the organization: a reader of several sorts over all of them.
            models.Index(fields=("created_at", "id"), name="polar_customer_created"),
            models.Index(fields=("name", "id"), name="polar_customer_name"),
            models.Index(fields=("email", "id"), name="polar_customer_email"),
            models.Index(Upper("email"), name="polar_customer_email_upper"),  # `email__iexact`
            models.Index(fields=("external_id",), name="polar_customer_external_id"),
            models.Index(
                fields=("default_payment_method_id",),
                name="polar_customer_payment_method",
                condition=models.Q(default_payment_method_id__isnull=False),
            ),
            # What changed last, which pages of the admin that are open ask for every second.
            models.Index(fields=("synced_at", "id"), name="polar_customer_synced"),
            # Cut, as any text can stand there and an index has no room for every one.
            models.Index(Left(KT("billing_address__country"), 8), name="polar_customer_country"),
            # One for containment in `metadata` is made by migration 0003, on PostgreSQL alone.
        )

    def __str__(self) -> str:
        return self.name or self.email or self.external_id or str(self.pk)

    def to_polar(self) -> dict[str, Any]:
        """The customer as Polar's `get` answers it."""
        return self._merge(self.extra)

    def state(self) -> dict[str, Any]:
        """The customer's state as https://polar.sh/docs/api-reference/customers/state answers it.

        Of a deleted customer: `deleted_at` set and no children. Four queries, none where `with_state()` prefetched.
        """
        state = self._merge(self.state_extra)
        for table in get_state_tables():
            rows = [row for row in self._get_rows(table) if not table.is_flagged or row.is_in_state]
            state[table.kind.array] = [row.to_polar() for row in sort_by_age(rows)]
        return state

    def _merge(self, extra: str) -> dict[str, Any]:
        data: dict[str, Any] = load_canonical(self.payload)
        if extra:
            data |= load_canonical(extra)
        if self.deleted_at and not data.get("deleted_at"):
            data["deleted_at"] = _format_instant(self.deleted_at)
        return data

    def _get_rows(self, table: Table) -> Any:
        rows = getattr(self, table.accessor)
        prefetched = getattr(self, "_prefetched_objects_cache", {})
        if all(each.accessor in prefetched for each in get_state_tables()):
            return rows.all()
        return rows.prefetch_related(*(each.accessor for each in get_nested_tables(table)))


def _format_instant(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


class CustomerObservation(models.Model):
    """When, on Polar's clock, what is mirrored of a customer was read.

    Narrow on purpose: it is the one row that a run touches for every customer, and what the store locks. Each part of
    a customer has an interval of its own (from `…_at` to `…_until`: no single moment can be known) and a number that
    says where it was read from (`polar_sync.store.ordering.Source`). What is mirrored is at least as new as `…_at`.
    """

    customer = models.OneToOneField(
        "polar_sync.Customer",
        verbose_name=_("customer"),
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="observation",
    )
    observed_at = models.DateTimeField(_("observed at"), null=True)
    observed_until = models.DateTimeField(_("observed until"), null=True)
    observed_from = models.PositiveSmallIntegerField(_("observed from"), null=True)
    extra_observed_at = models.DateTimeField(_("further fields observed at"), null=True)
    state_observed_at = models.DateTimeField(_("state observed at"), null=True)
    state_observed_until = models.DateTimeField(_("state observed until"), null=True)
    state_observed_from = models.PositiveSmallIntegerField(_("state observed from"), null=True)
    absent_at = models.DateTimeField(
        _("absent at"), null=True, help_text=_("When Polar said that there is no such customer.")
    )
    answered_at = models.DateTimeField(
        _("answered at"), null=True, help_text=_("When Polar last answered about the customer's state, on our clock.")
    )
    # Not a foreign key: pruning old runs must not touch a row for every customer.
    seen_by_run = models.BigIntegerField(_("seen by run"), null=True)
    seen_in_pass = models.PositiveSmallIntegerField(_("seen in pass"), null=True)

    class Meta:
        verbose_name = _("customer observation")
        verbose_name_plural = _("customer observations")

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.state_observed_at}"
