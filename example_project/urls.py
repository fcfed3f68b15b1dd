"""The shop has no pages of its own: everything is in the admin."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

admin.site.site_header = "Marginalia, the bookshop that runs itself"
admin.site.site_title = "Marginalia"
admin.site.index_title = "Behind the counter"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]
