"""The map of the site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from portal import files

handler404 = "portal.api.problems.not_found"
handler500 = "portal.api.problems.server_error"

urlpatterns = [
    path("", include("portal.web.urls")),
    path("api/v1/", include("portal.api.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("blobs/<str:digest>", files.signed_blob, name="signed-blob"),
    path("admin/", admin.site.urls),
]
