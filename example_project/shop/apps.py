"""Configuration of the shop."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """The app `example_project.shop`."""

    name = "example_project.shop"
    verbose_name = "Shop"
