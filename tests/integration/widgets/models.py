"""The rows of a kind of object that Polar does not have."""

from __future__ import annotations

from django.db import models

from polar_sync.models.base import PolarModel


class Widget(PolarModel):
    customer = models.ForeignKey("polar_sync.Customer", on_delete=models.CASCADE, related_name="widgets")
    colour = models.TextField(null=True)

    class Meta:
        app_label = "widgets"

    def __str__(self) -> str:
        return f"{self.colour}"
