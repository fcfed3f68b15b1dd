"""The bar that leads from page to page, for templates that none of this app's views shows."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.admin.sites import all_sites

from operator_app.admin.pages import navigation

register = template.Library()


@register.inclusion_tag("operator_app/admin/nav.html", takes_context=True)
def operator_navigation(context: template.Context) -> dict[str, Any]:
    """Show the bar of the site that the request is on, with the pages that its user may see; none
    outside of an admin site. No queries but for his permissions.
    """
    request = context["request"]
    name = getattr(request, "current_app", None)
    found = [navigation(site, request) for site in all_sites if site.name == name]
    return {"operator_nav": found[0] if found else []}
