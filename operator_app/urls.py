"""What programs may ask: `path("operator/", include("operator_app.urls"))`. Closed by default."""

from __future__ import annotations

from django.urls import path

from operator_app import views

app_name = "operator_app"

urlpatterns = [
    path("health", views.health, name="health"),
    path("stats.json", views.stats, name="stats"),
    path("operations.json", views.operations, name="operations"),
    path("operations/<int:pk>.json", views.operation, name="operation"),
    path("failed.json", views.failed, name="failed"),
]
