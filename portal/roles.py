"""Roles a user may take up by themselves."""

from __future__ import annotations

from portal.models import User
from tasks.errors import Refused
from tasks.models import Node


class NodesEnrolled(Refused):
    """The user has nodes that have not been retired."""

    code, status = "nodes_enrolled", 409


def switch_operator(*, user: User, is_operator: bool) -> None:
    """Give or take the operator role; a switch to what it is changes nothing.

    Raises:
        NodesEnrolled: nodes of the user could no longer be seen; nothing was changed.
    """
    enrolled = Node.objects.filter(owner=user).exclude(state=Node.State.RETIRED)
    if not is_operator and enrolled.exists():
        raise NodesEnrolled("Retire your nodes before you leave the operator role.")
    User.objects.filter(pk=user.pk).update(is_operator=is_operator)
