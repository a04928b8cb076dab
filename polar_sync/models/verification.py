"""How the mirror last compared with Polar itself."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Verification(models.Model):
    """What the last verification of an organization found: the mirror's states beside those of the state endpoint.

    `counts` are the differences by kind of object, `examples` some of them, without what tells of a person.
    """

    organization = models.OneToOneField(
        "polar_sync.Organization",
        verbose_name=_("organization"),
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="verification",
    )
    started_at = models.DateTimeField(_("started at"))
    finished_at = models.DateTimeField(_("finished at"), null=True)
    checked = models.PositiveBigIntegerField(_("customers checked"), default=0)
    differing = models.PositiveBigIntegerField(_("customers that differed"), default=0)
    repaired = models.PositiveBigIntegerField(_("customers repaired"), default=0)
    failed = models.PositiveBigIntegerField(_("customers that could not be asked about"), default=0)
    contradictions = models.PositiveBigIntegerField(_("differences"), default=0)
    unproven = models.PositiveBigIntegerField(_("differences within the hour"), default=0)
    counts = models.JSONField(_("differences by kind"), default=dict)
    examples = models.JSONField(_("examples"), default=list)

    class Meta:
        verbose_name = _("verification")
        verbose_name_plural = _("verifications")

    def __str__(self) -> str:
        return f"{self.organization}: {self.differing} of {self.checked} differed"

    @property
    def is_equal(self) -> bool:
        """Whether everybody could be asked about and nobody differed, or no longer does."""
        return self.differing == self.repaired and not self.failed
