"""`GET` and `PATCH nodes/{id}/`: what a node may do."""

from __future__ import annotations

import pytest

from tasks.models import Node
from tests import factories
from tests.portal.api import calls
from workers.protocol.allowance import Allowance

NOTHING = Allowance().model_dump(mode="json")
FILE = {"cores": 2, "battery": False, "schedule": ["mon-fri 18:00-07:00"], "kinds": ["detect"]}


@pytest.fixture
def node(operator) -> Node:
    return factories.make_node(operator, profile={"allowance": FILE})


def change(api, node, limits):
    return calls.patch(api, f"nodes/{node.pk}/", {"limits": limits})


def test_what_holds_is_the_stricter_of_file_and_page(operator_api, node):
    Node.objects.filter(pk=node.pk).update(
        wishes={"cores": 8, "celsius": 70, "client_categories": ["research"]}, settings_revision=1
    )

    limits = calls.get(operator_api, f"nodes/{node.pk}/").json()["limits"]

    assert limits["file"] == NOTHING | FILE
    assert limits["page"] == NOTHING | {
        "cores": 8,
        "celsius": 70,
        "client_categories": ["research"],
    }
    assert limits["effective"] == {
        "cores": 2,
        "memory_mib": None,
        "memory_free_mib": None,
        "cache_mib": None,
        "bandwidth_kib": None,
        "metered": True,
        "battery": False,
        "only_when_idle": False,
        "celsius": 70,
        "schedules": [["mon-fri 18:00-07:00"]],
        "kinds": ["detect"],
        "client_categories": ["research"],
        "exclusive_programs": [],
    }
    assert limits["is_told"] is False


def test_a_change_touches_only_what_it_names_and_null_takes_away(operator_api, node):
    change(operator_api, node, {"cores": 1, "battery": False, "kinds": ["classify"]})

    answer = change(operator_api, node, {"kinds": None, "client_categories": ["education"]})

    assert answer.status_code == 200
    assert answer.json()["limits"]["page"] == NOTHING | {
        "cores": 1,
        "battery": False,
        "client_categories": ["education"],
    }
    assert answer.json()["limits"]["effective"]["cores"] == 1
    node.refresh_from_db()
    assert (node.settings_revision, node.wishes) == (
        2,
        {"cores": 1, "battery": False, "client_categories": ["education"]},
    )


def test_the_page_cannot_go_beyond_the_file(operator_api, node):
    limits = change(operator_api, node, {"cores": 32, "battery": True}).json()["limits"]

    assert (limits["effective"]["cores"], limits["effective"]["battery"]) == (2, False)


@pytest.mark.parametrize("limits", [{}, {"celsius": None}, {"metered": True}, {"kinds": []}])
def test_what_changes_nothing_is_not_sent_to_the_node(operator_api, node, limits):
    assert change(operator_api, node, limits).status_code == 200

    node.refresh_from_db()
    assert (node.settings_revision, node.wishes) == (0, {})


@pytest.mark.parametrize(
    ("limits", "field", "code"),
    [
        ({"cores": 0}, "limits.cores", "min_value"),
        ({"cores": 33}, "limits.cores", "max_value"),
        ({"cores": "2"}, "limits.cores", "invalid"),
        ({"cores": 2.5}, "limits.cores", "invalid"),
        ({"cores": True}, "limits.cores", "invalid"),
        ({"battery": "no"}, "limits.battery", "invalid"),
        ({"kinds": "detect"}, "limits.kinds", "invalid"),
        ({"kinds": ["detect", "mine"]}, "limits.kinds.1", "invalid_choice"),
        ({"client_categories": ["undeclared"]}, "limits.client_categories.0", "invalid_choice"),
        ({"client_categories": ["research"] * 9}, "limits.client_categories", "max_length"),
        ({"schedule": ["always"]}, "limits.schedule.0", "invalid"),
        ({"schedule": ["mon 08:00-09:00"] * 29}, "limits.schedule", "max_length"),
        ({"exclusive_programs": ["x" * 16]}, "limits.exclusive_programs.0", "max_length"),
        ({"gpu": 1}, "limits.gpu", "unknown_field"),
        ({"gpu": None}, "limits.gpu", "unknown_field"),
        ([], "limits", "not_an_object"),
        (None, "limits", "null"),
    ],
)
def test_impossible_limits_change_nothing(operator_api, node, limits, field, code):
    answer = change(operator_api, node, limits)

    calls.refused(answer, 400, "invalid_input", fields=[(field, code)])
    node.refresh_from_db()
    assert (node.settings_revision, node.wishes) == (0, {})


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "limits", "required"),
        ({"limits": {}, "state": "active"}, "state", "unknown_field"),
        ({"limits": {}, "name": "x"}, "name", "unknown_field"),
    ],
)
def test_nothing_else_is_changed_here(operator_api, node, body, field, code):
    answer = calls.patch(operator_api, f"nodes/{node.pk}/", body)

    calls.refused(answer, 400, "invalid_input", fields=[(field, code)])


def test_every_wrong_limit_is_named(operator_api, node):
    answer = change(operator_api, node, {"cores": 0, "kinds": ["x", "y"], "celsius": 5})

    calls.refused(
        answer,
        400,
        "invalid_input",
        fields=[
            ("limits.cores", "min_value"),
            ("limits.celsius", "min_value"),
            ("limits.kinds.0", "invalid_choice"),
            ("limits.kinds.1", "invalid_choice"),
        ],
    )


@pytest.mark.parametrize("state", ["suspended", "retired"])
@pytest.mark.parametrize("limits", [{"cores": 1}, {}])
def test_a_node_that_is_out_takes_no_limits(operator_api, operator, state, limits):
    node = factories.make_node(operator, state=state)

    calls.refused(change(operator_api, node, limits), 409, "wrong_state")
    node.refresh_from_db()
    assert (node.settings_revision, node.wishes) == (0, {})


def test_nobody_limits_anothers_node_nor_with_a_key_that_only_reads(node, operator, stranger):
    calls.refused(change(calls.key_client(stranger), node, {"cores": 1}), 404, "not_found")
    reader = calls.key_client(operator, ["read"])
    calls.refused(change(reader, node, {"cores": 1}), 403, "scope_missing")

    node.refresh_from_db()
    assert node.settings_revision == 0
