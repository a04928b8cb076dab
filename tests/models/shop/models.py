from __future__ import annotations

from django.db import models

from polar_sync.models import BenefitGrant, Customer, Subscription


class Seat(models.Model):
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return f"seat {self.pk}"


class Invitation(models.Model):
    grant = models.ForeignKey(BenefitGrant, on_delete=models.SET_NULL, null=True)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return f"invitation {self.pk}"
