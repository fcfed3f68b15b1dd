"""The URLs of the tests: the admin, a site with pages for some of the sample kinds, and the JSON.

The same for all tests: Django takes 15 ms to read the other ones, for each test that changes them.
"""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from tests.admin.site import site

urlpatterns = [
    path("admin/", admin.site.urls),
    path("kinds/", site.urls),
    path("operator/", include("operator_app.urls")),
]
