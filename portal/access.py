"""The only way to fetch something for a user: what is not theirs does not exist.

`NotFound` is a 404 for pages and for the API alike, and it says nothing of whether another
user has such a thing. Ids are checked for their shape first, so that no byte a database
would choke on (NUL, half a surrogate pair) ever reaches it.
"""

from __future__ import annotations

import re
from typing import TypeVar

from django.db.models import Model, QuerySet
from django.http import Http404

from portal.models import ApiKey, User
from tasks import catalog
from tasks.models import (
    Appeal,
    CatalogModel,
    Dataset,
    Image,
    Item,
    Job,
    Node,
    Replica,
    SignedReport,
)

Row = TypeVar("Row", bound=Model)

_ID = re.compile(r"[a-z]{1,8}_[0-9a-z]{26}")
#: Row numbers are shown as text; nineteen digits hold every 64-bit one.
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_NUMBER_MAX = 2**63 - 1
#: What belongs to a piece of work.
_WORK = ("node", "chunk", "job__model", "gold", "strike", "appeal")


class NotFound(Http404):
    """There is no such thing, or it is not the user's."""


def datasets(user: User) -> QuerySet[Dataset]:
    """Return the user's own data sets."""
    return Dataset.objects.filter(owner=user)


def models(user: User) -> QuerySet[CatalogModel]:
    """Return the models the user may use: those on offer to everyone, and their own."""
    return catalog.usable_by(user.pk).select_related("blob")


def jobs(user: User) -> QuerySet[Job]:
    """Return the user's own jobs with their data set and model."""
    return Job.objects.filter(owner=user).select_related("dataset", "model")


def nodes(user: User) -> QuerySet[Node]:
    """Return the user's own nodes, retired ones included."""
    return Node.objects.filter(owner=user)


def keys(user: User) -> QuerySet[ApiKey]:
    """Return the user's API keys that were not revoked."""
    return ApiKey.objects.filter(user=user, revoked_at=None)


def dataset(user: User, dataset_id: str) -> Dataset:
    """Return one of the user's data sets.

    Raises:
        NotFound: no such data set of theirs.
    """
    return _one(datasets(user), _identifier(dataset_id))


def image(user: User, image_id: str) -> Image:
    """Return a picture of one of the user's data sets, with its blob.

    Raises:
        NotFound: no such picture of theirs.
    """
    rows = Image.objects.filter(dataset__owner=user).select_related("blob", "dataset")
    return _one(rows, _identifier(image_id))


def model(user: User, model_id: str) -> CatalogModel:
    """Return a model of the catalog.

    Raises:
        NotFound: no such model that the user may use.
    """
    return _one(models(user), _identifier(model_id))


def job(user: User, job_id: str) -> Job:
    """Return one of the user's jobs.

    Raises:
        NotFound: no such job of theirs.
    """
    return _one(jobs(user), _identifier(job_id))


def item(user: User, job_id: str, item_id: str | int) -> Item:
    """Return a picture's place in one of the user's jobs, with image and blob.

    Raises:
        NotFound: no such item in a job of theirs.
    """
    rows = Item.objects.filter(job__owner=user, job_id=_identifier(job_id))
    return _one(rows.select_related("job", "image__blob", "chunk"), _number(item_id))


def node(user: User, node_id: str) -> Node:
    """Return one of the user's nodes.

    Raises:
        NotFound: no such node of theirs.
    """
    return _one(nodes(user), _identifier(node_id))


def replica(user: User, replica_id: str | int) -> Replica:
    """Return a piece of work of one of the user's nodes.

    Raises:
        NotFound: no such work of theirs.
    """
    rows = Replica.objects.filter(node__owner=user, operator=user)
    return _one(rows.select_related(*_WORK), _number(replica_id))


def appeal(user: User, appeal_id: str | int) -> Appeal:
    """Return an appeal for staff to decide, with the work it is about.

    Raises:
        NotFound: no such appeal, or the user is not among those who decide.
    """
    if not (user.is_staff and user.has_perm("tasks.change_appeal")):
        raise NotFound("There is no such thing here.")
    rows = Appeal.objects.select_related(
        *[f"replica__{name}" for name in _WORK if name != "appeal"]
    )
    return _one(rows, _number(appeal_id))


def operations(user: User, *, to_change: str = "") -> None:
    """Let staff pass; `to_change`: those who may change nodes, or jobs.

    Raises:
        NotFound: the user is not among them.
    """
    if not user.is_staff or (to_change and not user.has_perm(f"tasks.change_{to_change}")):
        raise NotFound("There is no such thing here.")


def any_node(user: User, node_id: str, *, is_changed: bool) -> Node:
    """Return a node of anybody, for staff to look at or to act on.

    Raises:
        NotFound: no such node, or the user may not.
    """
    operations(user, to_change="node" if is_changed else "")
    return _one(Node.objects.select_related("owner"), _identifier(node_id))


def any_job(user: User, job_id: str, *, is_changed: bool) -> Job:
    """Return a job of anybody, for staff to look at or to act on.

    Raises:
        NotFound: no such job, or the user may not.
    """
    operations(user, to_change="job" if is_changed else "")
    return _one(Job.objects.select_related("owner", "model", "dataset"), _identifier(job_id))


def message(user: User, message_id: str | int) -> SignedReport:
    """Return a message that a node signed, for staff to take in again.

    Raises:
        NotFound: no such message, or the user may not.
    """
    operations(user, to_change="node")
    return _one(SignedReport.objects.all(), _number(message_id))


def key(user: User, key_id: str) -> ApiKey:
    """Return one of the user's API keys that was not revoked.

    Raises:
        NotFound: no such key of theirs.
    """
    return _one(keys(user), _identifier(key_id))


def _one(rows: QuerySet[Row], pk: str | int) -> Row:
    found = rows.filter(pk=pk).first()
    if found is None:
        raise NotFound("There is no such thing here.")
    return found


def _identifier(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise NotFound("There is no such thing here.")
    return text


def _number(value: str | int) -> int:
    if _NUMBER.fullmatch(str(value)) is None or int(value) > _NUMBER_MAX:
        raise NotFound("There is no such thing here.")
    return int(value)
