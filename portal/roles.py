"""Roles a user may take up by themselves, and what a client says the account is for."""

from __future__ import annotations

from portal.models import User
from tasks.errors import Refused
from tasks.models import Job, Node


class NodesEnrolled(Refused):
    """The user has nodes that have not been retired."""

    code, status = "nodes_enrolled", 409


class CategoryFixed(Refused):
    """Staff have settled what the account is for."""

    code, status, field = "category_fixed", 409, "client_category"


def switch_operator(*, user: User, is_operator: bool) -> None:
    """Give or take the operator role; a switch to what it is changes nothing.

    Raises:
        NodesEnrolled: nodes of the user could no longer be seen; nothing was changed.
    """
    enrolled = Node.objects.filter(owner=user).exclude(state=Node.State.RETIRED)
    if not is_operator and enrolled.exists():
        raise NodesEnrolled("Retire your nodes before you leave the operator role.")
    User.objects.filter(pk=user.pk).update(is_operator=is_operator)


def declare_category(*, user: User, category: str) -> User:
    """Note what the client says the account is for; jobs bought from now on carry it.

    Raises:
        CategoryFixed: staff settled it; nothing was changed.
    """
    declared = Job.ClientCategory(category)
    changed = User.objects.filter(pk=user.pk, is_category_fixed=False).update(
        client_category=declared
    )
    if changed == 0:
        raise CategoryFixed("Staff have settled what this account is for; write to them.")
    return User.objects.get(pk=user.pk)
