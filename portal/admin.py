"""The staff's desk: identities to decide, people, jobs, nodes, what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import Case, QuerySet, Value, When
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from payments import money
from payments.admin import ReadOnlyAdmin
from portal import kyc
from portal.models import ApiKey, KycCase, User
from tasks import appeals, nodes
from tasks.errors import Refused
from tasks.models import Appeal, CatalogModel, Job, JobEvent, Node, StaffAction
from tasks.operations import draining, quarantines, replays, reverification

admin.site.site_header = "Nodefolk staff"
admin.site.site_title = "Nodefolk staff"
admin.site.index_title = "Desk"


@admin.register(KycCase)
class KycCaseAdmin(ReadOnlyAdmin):
    """Identity checks; those that wait come first."""

    list_display = ("full_name", "user", "country", "status", "submitted_at", "decided_by")
    list_filter = ("status", "country")
    list_select_related = ("user", "decided_by")
    search_fields = ("full_name", "user__email")
    ordering = (
        Case(When(status=KycCase.Status.PENDING, then=Value(0)), default=Value(1)),
        "submitted_at",
        "pk",
    )
    actions = ("approve", "reject")

    @admin.action(description="Approve: this is a known person", permissions=["decide"])
    def approve(self, request: HttpRequest, cases: QuerySet[KycCase]) -> None:
        """Approve each selected case that waits."""
        staff = _staff(request)
        _each(
            self,
            request,
            cases.values_list("user_id", flat=True),
            lambda user_id: kyc.approve(user_id=user_id, staff=staff, now=timezone.now()),
        )

    @admin.action(description="Reject: they may try again", permissions=["decide"])
    def reject(self, request: HttpRequest, cases: QuerySet[KycCase]) -> None:
        """Reject each selected case that waits."""
        staff = _staff(request)
        _each(
            self,
            request,
            cases.values_list("user_id", flat=True),
            lambda user_id: kyc.reject(user_id=user_id, staff=staff, now=timezone.now()),
        )

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Tell who may run the two actions; nobody edits the fields."""
        return request.user.has_perm("portal.change_kyccase")


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    """People, their roles and what their accounts are for; nothing else can be changed here."""

    list_display = (
        "email",
        "is_client",
        "is_operator",
        "is_annotator",
        "is_staff",
        "is_active",
        "client_category",
        "joined_at",
    )
    list_filter = ("is_staff", "is_operator", "is_active", "client_category")
    search_fields = ("email",)
    ordering = ("-joined_at", "-pk")
    fields = (
        "email",
        "is_active",
        "is_client",
        "is_operator",
        "is_annotator",
        "is_staff",
        "client_category",
        "is_category_fixed",
        "joined_at",
        "last_login",
    )
    readonly_fields = ("email", "joined_at", "last_login")

    def has_change_permission(self, request: object, obj: object = None) -> bool:  # noqa: ARG002
        """Allow it to those whom Django's own permissions allow it."""
        return isinstance(request, HttpRequest) and request.user.has_perm("portal.change_user")


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """API keys by prefix; the secret is nowhere."""

    list_display = ("prefix", "name", "user", "created_at", "last_used_at", "revoked_at")
    list_select_related = ("user",)
    search_fields = ("prefix", "user__email")
    ordering = ("-created_at", "-pk")
    exclude = ("key_hash",)


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    """Nodes; suspending one ends its leases and its broker access at once."""

    list_display = (
        "name",
        "id",
        "owner",
        "state",
        "state_reason",
        "reason",
        "drained_at",
        "quarantined_at",
        "last_seen_at",
        "numeric_class",
    )
    list_filter = ("state",)
    list_select_related = ("owner",)
    search_fields = ("id", "name", "owner__email")
    ordering = ("-enrolled_at", "-pk")
    actions = ("suspend", "reinstate", "drain", "undrain", "quarantine", "lift", "replay")
    exclude = ("broker_password_hash",)

    @admin.action(description="Suspend: the broker refuses it", permissions=["suspend"])
    def suspend(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        """Suspend each selected node."""
        _each(
            self,
            request,
            chosen.values_list("pk", flat=True),
            lambda node_id: nodes.suspend(node_id=node_id, now=timezone.now()),
        )

    @admin.action(description="Reinstate: lift the suspension", permissions=["suspend"])
    def reinstate(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        """Let each selected suspended node back in."""
        _each(
            self,
            request,
            chosen.values_list("pk", flat=True),
            lambda node_id: nodes.reinstate(node_id=node_id, now=timezone.now()),
        )

    @admin.action(description="Drain: no new work", permissions=["suspend"])
    def drain(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        """Give each selected node no new work; what it has it finishes."""
        _act(self, request, chosen, by="node_id", act=partial(draining.drain, note=""))

    @admin.action(description="End the drain", permissions=["suspend"])
    def undrain(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        """Give each selected node work again."""
        _act(self, request, chosen, by="node_id", act=draining.undrain)

    @admin.action(description="Quarantine for all models", permissions=["suspend"])
    def quarantine(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        """Believe each selected node no longer."""
        _act(
            self,
            request,
            chosen,
            by="node_id",
            act=partial(quarantines.impose, model_id=None, note=""),
        )

    @admin.action(description="Lift the quarantine for all models", permissions=["suspend"])
    def lift(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        """Believe each selected node as before."""
        _act(self, request, chosen, by="node_id", act=partial(quarantines.lift, model_id=None))

    @admin.action(description="Replay: send it all again", permissions=["suspend"])
    def replay(self, request: HttpRequest, chosen: QuerySet[Node]) -> None:
        """Send each selected node again what it should know."""
        _act(self, request, chosen, by="node_id", act=replays.replay_node)

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        """Tell who may run the actions; nobody edits the fields."""
        return request.user.has_perm("tasks.change_node")


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Jobs, newest first."""

    list_display = (
        "id",
        "owner",
        "state",
        "reason",
        "client_category",
        "items_total",
        "items_final",
        "items_failed",
        "price",
        "submitted_at",
    )
    list_filter = ("state", "target_error")
    list_select_related = ("owner",)
    search_fields = ("id", "owner__email")
    ordering = ("-submitted_at", "-pk")
    actions = ("reverify", "ask_referee", "replay")

    @admin.action(description="Verify again by another owner", permissions=["steer"])
    def reverify(self, request: HttpRequest, chosen: QuerySet[Job]) -> None:
        """Have accepted results of each selected job computed again."""
        _act(self, request, chosen, by="job_id", act=partial(_reverify, by="owner"))

    @admin.action(description="Verify again by the referee", permissions=["steer"])
    def ask_referee(self, request: HttpRequest, chosen: QuerySet[Job]) -> None:
        """Have the platform compute accepted results of each selected job."""
        _act(self, request, chosen, by="job_id", act=partial(_reverify, by="referee"))

    @admin.action(description="Replay: send it all again", permissions=["steer"])
    def replay(self, request: HttpRequest, chosen: QuerySet[Job]) -> None:
        """Send again what nodes should know of each selected job."""
        _act(self, request, chosen, by="job_id", act=replays.replay_job)

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Tell who may run the actions; nobody edits the fields."""
        return request.user.has_perm("tasks.change_job")

    @admin.display(description="price")
    def price(self, job: Job) -> str:
        """Show the price with its decimals."""
        return money.format_amount(job.price_minor)


@admin.register(Appeal)
class AppealAdmin(ReadOnlyAdmin):
    """Appeals; those that wait for staff come first, with a link to both answers."""

    list_display = ("answers", "operator", "reason", "state", "created_at", "decided_by")
    list_display_links = None
    list_filter = ("state",)
    list_select_related = ("operator", "replica", "decided_by")
    search_fields = ("operator__email", "replica__node__id")
    ordering = (
        Case(
            When(state=Appeal.State.STAFF, then=Value(0)),
            When(state=Appeal.State.REFEREE, then=Value(1)),
            default=Value(2),
        ),
        "created_at",
        "pk",
    )
    actions = ("uphold", "deny")

    @admin.display(description="answers")
    def answers(self, appeal: Appeal) -> SafeString:
        """Lead to the page that draws both."""
        return format_html('<a href="{}">Both answers</a>', reverse("appeal", args=[appeal.pk]))

    @admin.display(description="refused for")
    def reason(self, appeal: Appeal) -> str:
        """Say why the work was refused."""
        return appeal.replica.reason.replace("_", " ")

    @admin.action(description="Uphold: pay, and believe the node again", permissions=["decide"])
    def uphold(self, request: HttpRequest, chosen: QuerySet[Appeal]) -> None:
        """Uphold each selected appeal that waits."""
        self._decide(request, chosen, appeals.uphold)

    @admin.action(description="Deny: the refusal stands", permissions=["decide"])
    def deny(self, request: HttpRequest, chosen: QuerySet[Appeal]) -> None:
        """Deny each selected appeal that waits."""
        self._decide(request, chosen, appeals.deny)

    def _decide(
        self, request: HttpRequest, chosen: QuerySet[Appeal], decide: Callable[..., Appeal]
    ) -> None:
        staff = _staff(request)
        _each(
            self,
            request,
            chosen.values_list("pk", flat=True),
            lambda appeal_id: decide(
                appeal_id=appeal_id, staff_id=staff.pk, note="", now=timezone.now()
            ),
        )

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Tell who may run the two actions; nobody edits the fields."""
        return request.user.has_perm("tasks.change_appeal")


@admin.register(JobEvent)
class JobEventAdmin(ReadOnlyAdmin):
    """What happened to jobs, newest first."""

    list_display = ("created_at", "job", "code", "detail")
    list_filter = ("code",)
    list_select_related = ("job",)
    search_fields = ("job__id",)
    ordering = ("-pk",)


@admin.register(CatalogModel)
class CatalogModelAdmin(ReadOnlyAdmin):
    """Models on offer."""

    list_display = ("name", "version", "kind", "licence", "is_offered", "created_at")
    ordering = ("-created_at", "-pk")


@admin.register(StaffAction)
class StaffActionAdmin(ReadOnlyAdmin):
    """Who of the staff did what, newest first."""

    list_display = ("created_at", "staff", "verb", "target", "note", "detail")
    list_filter = ("verb",)
    list_select_related = ("staff",)
    search_fields = ("target", "staff__email")
    ordering = ("-pk",)


_reverify = partial(reverification.reverify, chunk_index=None, note="")


def _act(
    model_admin: ReadOnlyAdmin,
    request: HttpRequest,
    chosen: QuerySet[Any],
    *,
    by: str,
    act: Callable[..., object],
) -> None:
    """Let staff do the same to each row, whose id `act` takes as its argument `by`."""
    staff = _staff(request)
    _each(
        model_admin,
        request,
        chosen.values_list("pk", flat=True),
        lambda pk: act(**{by: pk}, staff_id=staff.pk, now=timezone.now()),
    )


def _staff(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _each(
    page: ReadOnlyAdmin,
    request: HttpRequest,
    keys: Iterable[int] | Iterable[str],
    change: Callable[..., object],
) -> None:
    """Do `change` for each key and tell how many went through and why others did not."""
    done = 0
    for key in list(keys):
        try:
            change(key)
        except Refused as refused:
            page.message_user(request, f"{key}: {refused.detail}", messages.WARNING)
        else:
            done += 1
    if done:
        page.message_user(request, f"Done: {done}.", messages.SUCCESS)
