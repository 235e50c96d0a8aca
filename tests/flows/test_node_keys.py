"""Keys of a real node and of the platform change, and work goes on."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from tests.flows import real_node
from workers import identity
from workers.config import Home
from workers.protocol import signatures

pytestmark = [pytest.mark.slow, pytest.mark.embedded]


def public_key(node) -> str:
    return signatures.public_text(identity.load_key(node.home.key_file))


def test_rotating_by_command_ends_the_old_key_and_password(platform):
    with real_node.running(platform, 41) as node:
        partner = platform.puppet(2)
        node.work_with(partner)
        old_key, old_config = public_key(node), node.config

        refused = node.command("rotate")

        assert (refused.returncode, "running already" in refused.stderr) == (1, True)
        assert (public_key(node), node.config) == (old_key, old_config)
        node.stop()
        stolen = node.home.root.with_name("stolen")
        shutil.copytree(node.home.root, stolen)

        rotated = node.command("rotate")

        assert rotated.returncode == 0, rotated.stderr
        assert "old ones are good for nothing" in rotated.stdout
        assert public_key(node) != old_key
        assert node.row("public_key") == [public_key(node)]
        assert not node.home.next_key_file.exists()
        if "amqp" in old_config["broker"]["url"]:
            assert node.config["broker"]["password"] != old_config["broker"]["password"]
        node.start()
        node.work_with(partner)
        _thief_is_refused(node, stolen)


def _thief_is_refused(node, stolen) -> None:
    """The copied folder cannot rotate the node back, nor take it out."""
    before = node.row("public_key", "state")
    thief = dataclasses.replace(node, home=Home(stolen))
    for command in (["rotate"], ["leave", "--yes"]):
        done = thief.command(*command)
        assert done.returncode == 1, done.stdout
    assert node.row("public_key", "state") == before


def test_a_running_node_follows_the_platforms_new_key(platform):
    with real_node.running(platform, 42) as node:
        partner, pid = platform.puppet(3), node.pid
        old = node.config["platform_key"]

        changed = platform.manage("change_platform_key")

        assert changed.returncode == 0, changed.stderr
        node.work_with(partner)
        new = node.config["platform_key"]
        assert new != old
        assert new in changed.stdout
        assert node.pid == pid
        assert node.state()["refused"]["bad_signature"] >= 1
        assert "a new key, vouched for by the old one" in node.log()
