"""Which network a node is in: a prefix of what the platform saw, or nothing."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import networks, scheduling
from tasks.models import Node
from tests import factories
from tests.tasks import work


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.41.0.4", "198.41.0.0/24"),
        ("::ffff:198.41.0.4", "198.41.0.0/24"),
        ("2001:503:ba3e::2:30", "2001:503:ba3e::/48"),
        ("2001:503:ba3e::2:30%eth0", "2001:503:ba3e::/48"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("10.1.2.3", ""),
        ("192.168.0.7", ""),
        ("100.64.0.1", ""),
        ("169.254.1.1", ""),
        ("fe80::1", ""),
        ("fd00::1", ""),
        ("::ffff:10.0.0.1", ""),
        ("224.0.0.1", ""),
        ("", ""),
        ("somewhere", ""),
        ("198.41.0.4:5671", ""),
    ],
)
def test_only_a_public_address_tells_a_network(address, network):
    assert networks.prefix(address) == network


def test_our_own_balancers_tell_none():
    own = ["198.41.0.0/16", "2001:503::/32"]

    assert [networks.prefix(each, own=own) for each in ("198.41.9.9", "2001:503::1")] == ["", ""]
    assert networks.prefix("199.7.83.42", own=own) == "199.7.83.0/24"


@given(st.ip_addresses())
def test_a_network_holds_the_address_and_no_more_than_its_prefix_is_kept(address):
    network = networks.prefix(str(address))

    if network:
        known = ipaddress.ip_network(network)
        assert known.prefixlen in (24, 48)
        assert len(network) <= Node._meta.get_field("network").max_length


@given(st.text(max_size=60))
def test_any_text_is_read(text):
    assert isinstance(networks.prefix(text), str)


@pytest.mark.django_db
def test_a_node_that_moves_is_known_by_its_new_network_and_by_its_last_one_if_that_is_hidden():
    (node,) = factories.make_fleet(1)

    assert networks.note(node_id=node.pk, address="198.41.0.4")
    assert not networks.note(node_id=node.pk, address="198.41.0.77")
    assert not networks.note(node_id=node.pk, address="10.0.0.1")
    node.refresh_from_db()
    assert node.network == "198.41.0.0/24"
    assert networks.note(node_id=node.pk, address="199.7.83.42")
    node.refresh_from_db()
    assert node.network == "199.7.83.0/24"


@pytest.mark.django_db
def test_two_nodes_of_one_network_never_have_the_same_chunk(client_user):
    fleet = factories.make_fleet(3)
    for node, address in zip(fleet, ("198.41.0.4", "198.41.0.9", "199.7.83.42"), strict=True):
        networks.note(node_id=node.pk, address=address)

    job = work.start(client_user, fleet, target_error="1e-2")

    given_to = {row.node.network for row in work.leased(job)}
    assert given_to == {"198.41.0.0/24", "199.7.83.0/24"}
    assert len(work.leased(job)) == 2
    assert scheduling.assign_ready(now=work.NOW) == []
