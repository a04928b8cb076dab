"""A Polar organization that is mirrored."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Organization(models.Model):
    """One entry of `POLAR_SYNC["ORGANIZATIONS"]` and the Polar organization that its token showed.

    `polar_id` is null until the first customer is seen; once set, a token that shows another organization under the
    same name is refused.
    """

    name = models.CharField(_("name"), max_length=200, unique=True)
    polar_id = models.UUIDField(_("Polar id"), null=True, unique=True)
    server = models.CharField(_("server"), max_length=500)
    last_succeeded_at = models.DateTimeField(_("last succeeded at"), null=True)

    class Meta:
        verbose_name = _("organization")
        verbose_name_plural = _("organizations")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
