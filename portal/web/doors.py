"""Pages that only some roles may use."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse

from portal.web.requests import PageRequest

Rest = ParamSpec("Rest")
View = Callable[Concatenate[PageRequest, Rest], HttpResponse]


def client_only(view: View[Rest]) -> View[Rest]:
    """Answer 403 to whoever is not a client; what they own stays readable elsewhere."""

    @wraps(view)
    def guarded(request: PageRequest, /, *args: Rest.args, **kwargs: Rest.kwargs) -> HttpResponse:
        if not request.user.is_client:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return guarded
