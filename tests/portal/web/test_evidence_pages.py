"""Refused work as its operator sees it, the appeal, and the page on which staff decide."""

from __future__ import annotations

import pytest

from tasks import appeals
from tasks.models import Appeal, Replica
from tests import factories
from tests.tasks import refusals, work


@pytest.fixture
def refused(client_user, operator):
    nodes = [factories.make_node(operator), *factories.make_fleet(2)]
    return refusals.refused(client_user, nodes)


@pytest.fixture
def appeal(refused):
    return appeals.lodge(
        replica_id=refused.pk, operator_id=refused.operator_id, text="There it is.", now=work.NOW
    )


def page(browser, path):
    answer = browser.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_both_answers_are_drawn_and_named(as_operator, refused):
    html = page(as_operator, f"/work/{refused.pk}/")

    assert html.count('class="said-by-own"') == html.count('class="said-by-right"') == 1
    assert 'x="30.0" y="10.0" width="20.0" height="20.0"' in html
    assert "Answers differed, so the platform computed" in html
    assert "1 of 1 picture differs" in html


def test_nothing_says_whose_the_other_answer_or_the_picture_is(as_operator, refused, client_user):
    html = page(as_operator, f"/work/{refused.pk}/")

    others = refused.job.replicas.exclude(pk=refused.pk)
    for secret in [
        *others.values_list("node_id", flat=True),
        *others.values_list("node__name", flat=True),
        *others.values_list("operator__email", flat=True),
        client_user.email,
        refused.job_id,
        refused.chunk.items.get().image.name,
    ]:
        assert secret not in html


def test_the_nodes_page_lists_refused_work(as_operator, refused):
    html = page(as_operator, f"/nodes/{refused.node_id}/")

    assert "Refused work" in html
    assert f'href="/work/{refused.pk}/#appeal"' in html
    assert "Nearly right" not in html


def test_a_near_miss_is_told_on_the_work_and_on_the_nodes_page(as_operator, client_user, operator):
    node = factories.make_node(operator)
    missed = refusals.nearly(client_user, [node, *factories.make_fleet(4)], checks=50)

    on_work = page(as_operator, f"/work/{missed.pk}/")
    on_node = page(as_operator, f"/nodes/{node.pk}/")

    for html in (on_work, on_node):
        assert "was nearly right" in html
        assert "before 500 more answers with the model are accepted" in html
        assert "overclocked" in html
    assert "the warning is taken back" in on_work
    assert f'<a href="/work/{missed.pk}/">Look at the work</a>' in on_node


def test_an_appeal_is_lodged_from_the_page_and_shown(as_operator, refused):
    answer = as_operator.post(f"/work/{refused.pk}/appeal/", {"text": "Look again."})

    assert (answer.status_code, answer["Location"]) == (302, f"/work/{refused.pk}/")
    assert Appeal.objects.get(replica=refused).text == "Look again."
    html = page(as_operator, f"/work/{refused.pk}/")
    assert "staff will decide" in html
    assert '<form method="post" action="/work/' not in html


def test_a_second_appeal_from_the_page_is_answered_in_words(as_operator, refused, appeal):
    answer = as_operator.post(f"/work/{refused.pk}/appeal/", {}, follow=True)

    assert "This work was appealed before." in answer.content.decode()
    assert Appeal.objects.count() == 1


def test_pictures_are_sent_by_their_place_in_the_work(as_operator, refused):
    Replica.objects.filter(pk=refused.pk).update(
        gold=refusals.make_gold(refused.job.model), gold_position=0, gold_answer=[]
    )
    shown = [as_operator.get(f"/work/{refused.pk}/{place}/image?side=240") for place in range(3)]

    assert [answer.status_code for answer in shown] == [200, 200, 404]
    assert shown[0]["ETag"] != shown[1]["ETag"]
    assert as_operator.get(f"/work/{refused.pk}/x/image").status_code == 404


@pytest.mark.parametrize("path", ["", "0/image"])
def test_a_stranger_sees_no_evidence(as_stranger, refused, path):
    assert as_stranger.get(f"/work/{refused.pk}/{path}").status_code == 404


def test_a_stranger_cannot_appeal(as_stranger, refused):
    assert as_stranger.post(f"/work/{refused.pk}/appeal/").status_code == 404
    assert Appeal.objects.count() == 0


def test_staff_see_both_answers_and_what_the_operator_says(as_staff, appeal):
    html = page(as_staff, f"/appeals/{appeal.pk}/")

    assert "There it is." in html
    assert html.count('class="said-by-right"') == 1
    assert as_staff.get(f"/appeals/{appeal.pk}/0/image?side=240").status_code == 200


@pytest.mark.parametrize(("decision", "state"), [("uphold", "upheld"), ("deny", "denied")])
def test_staff_decide_on_the_page(as_staff, staff, appeal, decision, state):
    answer = as_staff.post(f"/appeals/{appeal.pk}/", {"decision": decision, "note": "We looked."})

    assert answer.status_code == 302
    appeal.refresh_from_db()
    assert (appeal.state, appeal.decided_by, appeal.note) == (state, staff, "We looked.")
    assert "We looked." in page(as_staff, f"/appeals/{appeal.pk}/")


def test_a_decision_that_is_none_changes_nothing(as_staff, appeal):
    answer = as_staff.post(f"/appeals/{appeal.pk}/", {"decision": "shrug"})

    assert answer.status_code == 422
    assert Appeal.objects.get().state == "staff"


def test_the_operator_reads_the_decision(as_operator, staff, refused, appeal):
    appeals.deny(appeal_id=appeal.pk, staff_id=staff.pk, note="It is a shadow.", now=work.NOW)

    assert "It is a shadow." in page(as_operator, f"/work/{refused.pk}/")


@pytest.mark.parametrize("path", ["", "0/image"])
def test_an_operator_does_not_see_the_desk(as_operator, appeal, path):
    assert as_operator.get(f"/appeals/{appeal.pk}/{path}").status_code == 404


def test_the_queue_of_the_desk_leads_to_the_answers(as_staff, appeal):
    html = page(as_staff, "/admin/tasks/appeal/")

    assert f'href="/appeals/{appeal.pk}/"' in html


@pytest.mark.parametrize(("action", "state"), [("uphold", "upheld"), ("deny", "denied")])
def test_the_desk_decides_several_at_once(as_staff, appeal, action, state):
    as_staff.post("/admin/tasks/appeal/", {"action": action, "_selected_action": [appeal.pk]})

    appeal.refresh_from_db()
    assert appeal.state == state
