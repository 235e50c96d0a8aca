"""Operators choose for whom their nodes work; jobs say what their client's account is for."""

from __future__ import annotations

from typing import get_args

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tasks import allowances, jobs, nodes, queries, requests, scheduling
from tasks.models import Credibility, Job, Node, Replica
from tests import factories
from tests.portal.api import calls
from tests.tasks import work
from workers.protocol import allowance
from workers.protocol.allowance import Allowance

RESEARCH = {"client_categories": ["research"]}
BY_FILE = {"profile": {"allowance": RESEARCH}}
BY_PAGE = {"wishes": RESEARCH}


def job_of(owner, category: str, *, acked: list[Node]) -> Job:
    """Submit a job as a client of this category; `acked` acknowledged it."""
    factories.fund(owner)
    request = requests.JobRequest(
        kind="detect",
        dataset_id=factories.make_dataset(owner).pk,
        model_id=factories.make_model().pk,
        target_error="1e-2",
    )
    job = jobs.submit(owner_id=owner.pk, request=request, now=work.NOW, client_category=category)
    if acked:
        factories.announce(job, nodes=acked)
    return job


def test_the_words_on_the_wire_are_those_of_the_jobs():
    on_the_wire = {*get_args(allowance.ClientCategory), allowance.UNDECLARED}

    assert set(Job.ClientCategory.values) == on_the_wire


def test_a_job_without_a_word_is_undeclared(client_user):
    assert factories.make_job(client_user).client_category == "undeclared"


def test_a_word_that_is_none_buys_nothing(client_user):
    factories.fund(client_user)
    before = Job.objects.count()

    with pytest.raises(ValueError, match="mining"):
        job_of(client_user, "mining", acked=[])

    assert Job.objects.count() == before


def test_the_assignment_says_what_the_client_is_and_not_who(client_user):
    (node,) = factories.make_fleet(1)
    job = job_of(client_user, "education", acked=[node])
    scheduling.assign_ready(now=work.NOW)

    message = work.assignment_of(job.replicas.get(), now=work.NOW)

    assert message.client_category == "education"
    assert client_user.email not in message.model_dump_json()


@pytest.mark.parametrize("limit", [BY_FILE, BY_PAGE], ids=["file", "page"])
@pytest.mark.parametrize("category", ["commercial", "undeclared"])
def test_a_node_is_not_given_work_its_limits_leave_out(client_user, limit, category):
    (node,) = factories.make_fleet(1, **limit)
    job = job_of(client_user, category, acked=[node])

    assert scheduling.assign_ready(now=work.NOW) == []

    job.refresh_from_db()
    assert (job.state, job.reason) == ("queued", "category_excluded")
    assert Replica.objects.count() == 0


@pytest.mark.parametrize("limit", [BY_FILE, BY_PAGE], ids=["file", "page"])
def test_a_node_is_given_the_work_its_limits_name(client_user, limit):
    (node,) = factories.make_fleet(1, **limit)
    job = job_of(client_user, "research", acked=[node])

    scheduling.assign_ready(now=work.NOW)

    assert job.replicas.get().node == node


def test_a_limit_set_on_the_page_holds_from_the_next_look(client_user):
    (node,) = factories.make_fleet(1)
    job = job_of(client_user, "commercial", acked=[node])
    nodes.set_wishes(node_id=node.pk, wishes=Allowance(**RESEARCH))

    assert scheduling.assign_ready(now=work.NOW) == []

    job.refresh_from_db()
    assert job.reason == "category_excluded"


def test_while_a_node_that_could_do_it_is_busy_the_job_waits_for_that_one(client_user):
    busy, shut = factories.make_node(factories.make_user("operator")), *factories.make_fleet(1)
    Node.objects.filter(pk=shut.pk).update(wishes=RESEARCH)
    first = job_of(client_user, "commercial", acked=[busy, shut])
    scheduling.assign_ready(now=work.NOW)
    second = job_of(factories.make_user("client"), "commercial", acked=[busy, shut])

    scheduling.assign_ready(now=work.NOW)

    assert first.replicas.get().node == busy
    second.refresh_from_db()
    assert second.reason == "nodes_busy"


def test_when_everybody_there_is_silent_for_it_the_client_is_told(client_user):
    factories.make_fleet(2, **BY_FILE)
    factories.make_node(client_user)  # one's own node computes nothing of one's own
    job = job_of(client_user, "commercial", acked=[])

    scheduling.assign_ready(now=work.NOW)

    job.refresh_from_db()
    assert job.reason == "category_excluded"
    told = job.events.get(code="waiting")
    assert told.detail == {"reason": "category_excluded"}


def test_while_somebody_there_works_for_all_nobody_capable_has_answered(client_user):
    factories.make_fleet(1, **BY_FILE)
    factories.make_fleet(1)
    job = job_of(client_user, "commercial", acked=[])

    scheduling.assign_ready(now=work.NOW)

    job.refresh_from_db()
    assert job.reason == "no_capable_nodes"


def test_work_handed_back_for_its_client_goes_to_another_owner(client_user):
    first, second = factories.make_fleet(2)
    job = job_of(client_user, "commercial", acked=[first])
    scheduling.assign_ready(now=work.NOW)
    (replica,) = work.leased(job)

    work.take(
        work.report_of(
            replica, status="handed_back", reason="category_not_allowed", answers=[], compute_ms=0
        )
    )
    Node.objects.filter(pk=first.pk).update(**BY_FILE)  # as its next heartbeat says
    factories.announce(job, nodes=[second])
    scheduling.assign_ready(now=work.NOW)

    (shown,) = queries.replica_views(list(queries.replica_rows(first.pk)), now=work.NOW)
    assert (shown.reason, shown.node_said) == ("handed_back", "category_not_allowed")
    assert [row.node for row in work.leased(job)] == [second]
    assert work.unsound() == []


categories = st.lists(
    st.sampled_from(["research", "education", "commercial"]), unique=True, max_size=3
)


@given(file=categories, page=categories)
def test_the_schedulers_short_way_says_what_the_whole_allowance_says(file, page):
    node = Node(
        wishes=Allowance(client_categories=page).model_dump(mode="json", exclude_defaults=True),
        profile={
            "allowance": Allowance(client_categories=file).model_dump(
                mode="json", exclude_defaults=True
            )
        },
    )

    short = allowances.client_categories(node.wishes, node.profile)

    whole = allowances.limits_of(node).effective.client_categories
    assert short == (None if whole is None else frozenset(whole))


OF_OTHERS = (
    BY_FILE,
    BY_PAGE,
    {"wishes": {"client_categories": ["education", "research"]}},
    {"wishes": RESEARCH, "profile": {"allowance": {"client_categories": ["commercial"]}}},
)


def test_the_database_leaves_out_the_same_nodes_as_the_scheduler(operator):
    lists: list[list[str] | None] = [None, [], ["research"], ["commercial", "education"]]
    for file in lists:
        for page in lists:
            factories.make_node(
                operator,
                wishes={} if page is None else {"client_categories": page},
                profile={}
                if file is None
                else {"allowance": {"client_categories": file}, "images_per_second": 2.0},
            )

    for category in Job.ClientCategory.values:
        found = allowances.serving(Node.objects.all(), client_category=category)
        served = {
            node.pk
            for node in Node.objects.all()
            if (named := allowances.client_categories(node.wishes, node.profile)) is None
            or category in named
        }
        assert set(found.values_list("pk", flat=True)) == served


@pytest.fixture
def mixed(db):
    """A slow node for everybody, and many quick ones with a record that leave out commerce."""
    model = factories.make_model(image_ms=4000)
    factories.make_fleet(1)
    for limit in OF_OTHERS:
        for node in factories.make_fleet(3, **limit):
            Credibility.objects.create(
                node=node, model=model, checks_tenths=10_000, image_ms=10.0, state="trusted"
            )
    return model


def asked(owner, model) -> requests.JobRequest:
    return requests.JobRequest(
        kind="detect",
        dataset_id=factories.make_dataset(owner, images=60).pk,
        model_id=model.pk,
        target_error="1e-2",
    )


def test_a_quote_counts_only_on_nodes_that_work_for_the_client(client_user, mixed):
    request = asked(client_user, mixed)

    def quoted(category: str) -> jobs.Quote:
        return jobs.quote(
            owner_id=client_user.pk, request=request, now=work.NOW, client_category=category
        )

    commercial, undeclared, research = map(quoted, ["commercial", "undeclared", "research"])

    # 60 pictures, each by two fresh nodes at 4 s, one after the other, and half a second.
    assert (commercial.eta_p50_seconds, commercial.believed_share) == (481, 0.0)
    assert undeclared == commercial
    # Nine of ten nodes are known, and quick.
    assert (research.eta_p50_seconds, research.believed_share) == (1, 0.9)
    assert research.expected_minor < commercial.expected_minor == commercial.price_minor


def test_a_job_is_cut_for_the_nodes_that_work_for_the_client(client_user, mixed):
    """Two pictures of 4 s fit into the time of a chunk; of the quick ones 60 for ten nodes do."""
    request = asked(client_user, mixed)
    factories.fund(client_user)

    def cut(category: str) -> tuple[int, int]:
        plan = requests.plan(
            owner_id=client_user.pk, request=request, client_category=category, now=work.NOW
        )
        job = jobs.submit(
            owner_id=client_user.pk, request=request, now=work.NOW, client_category=category
        )
        sizes = list(job.chunks.values_list("items_count", flat=True))
        assert max(sizes) <= plan.chunk_size
        return plan.nodes, plan.chunk_size

    assert cut("commercial") == (1, 2)
    assert cut("research") == (10, 1)


def test_the_page_and_the_api_quote_for_the_clients_own_category(client, client_user, mixed):
    request = asked(client_user, mixed)
    Node.objects.update(last_seen_at=timezone.now())
    body = {"kind": "detect", "dataset": request.dataset_id, "model": mixed.pk}
    body["target_error"] = "1e-2"
    api = calls.key_client(client_user)

    before = calls.post(api, "quotes/", body).json()
    type(client_user).objects.filter(pk=client_user.pk).update(client_category="research")
    after = calls.post(api, "quotes/", body).json()

    assert (before["believed_share"], after["believed_share"]) == (0.0, 0.9)
    client.force_login(type(client_user).objects.get(pk=client_user.pk))
    page = client.get(f"/jobs/new/?dataset={request.dataset_id}&model={mixed.pk}")
    assert page.context["offer"].quote.believed_share == pytest.approx(0.9)
