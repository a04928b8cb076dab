"""Names of what an organization sells, grants and measures: so that people read "Pro, monthly" rather than an id."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class CatalogueEntry(models.Model):
    """Something of an organization's that its customers' objects refer to by id.

    Known as far as Polar has shown it beside a subscription, a grant or a meter, or where the token may read it.
    `payload` is canonical JSON text of what Polar sent, without what can hold a secret.
    """

    id = models.UUIDField(_("Polar id"), primary_key=True, editable=False)
    organization = models.ForeignKey(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        to_field="polar_id",
        on_delete=models.CASCADE,
        related_name="+",
    )
    name = models.TextField(_("name"), default="")
    is_archived = models.BooleanField(_("archived"), default=False)
    payload = models.TextField(_("payload"), default="{}", editable=False)
    observed_at = models.DateTimeField(_("observed at"), null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name or str(self.pk)


class Product(CatalogueEntry):
    """https://polar.sh/docs/api-reference/products/get."""

    recurring_interval = models.TextField(_("recurring interval"), null=True)
    recurring_interval_count = models.BigIntegerField(_("recurring interval count"), null=True)

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        ordering = ("name",)


class Benefit(CatalogueEntry):
    """https://polar.sh/docs/api-reference/benefits/get: `name` is Polar's `description`."""

    type = models.TextField(_("type"), null=True)

    class Meta:
        verbose_name = _("benefit")
        verbose_name_plural = _("benefits")
        ordering = ("name",)


class MeterDefinition(CatalogueEntry):
    """https://polar.sh/docs/api-reference/meters/get: what is measured, apart from any customer."""

    unit = models.TextField(_("unit"), null=True)

    class Meta:
        verbose_name = _("meter definition")
        verbose_name_plural = _("meter definitions")
        ordering = ("name",)
