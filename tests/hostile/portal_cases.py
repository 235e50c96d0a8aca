"""What portal and authority refuse: links, tokens, other people's nodes, loose questions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests import factories
from tests.hostile.scene import Case, Scene
from workers.protocol import messages, routes, signatures

LINK = "a link is for one blob, for a while, and cannot be changed"
TOKEN = "a token lets one machine in, for one person"
OWN = "a user reaches only what is theirs"
KEYS = "other keys only on the word of the key in force"
ASKED = "the authority says yes to nothing but a node's own few rights"


def _altered(old: str, new: str) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        good = scene.extras["good"]
        assert old in good
        return scene.portal_says("GET", good.replace(old, new))

    return act


def _other_blob(scene: Scene) -> str:
    """Use the link to one blob for another: the model's."""
    digest = scene.theirs.inputs[0].digest
    return scene.portal_says("GET", scene.extras["good"].replace(digest, scene.mine.model.digest))


def _bare(scene: Scene) -> str:
    return scene.portal_says("GET", f"/blobs/{scene.theirs.inputs[0].digest}")


def _enroll(scene: Scene, token: str, **changes: Any) -> str:
    body = {
        "token": token,
        "name": "x",
        "public_key": signatures.public_text(factories.make_key()),
        "hardware": {"cores": 1, "memory_bytes": 1},
    }
    return scene.portal_says("POST", routes.ENROLL_PATH, json={**body, **changes})


def _used_token(scene: Scene) -> str:
    return _enroll(scene, scene.extras["used_token"])


def _taken_key(scene: Scene) -> str:
    """Enrol the victim's key once more, as a node of one's own."""
    key = signatures.public_text(scene.victim.key)
    return _enroll(scene, scene.extras["fresh_token"], public_key=key)


def _unverified(scene: Scene) -> str:
    return scene.portal_says("POST", "/api/v1/nodes/enrollments/", key=scene.extras["nobody"])


def _as(role: str, method: str, path: str) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        filled = path.format(victim=scene.victim.node_id, job=scene.mine.job)
        key = scene.platform.logins[role]["api_key"] if role else ""
        return scene.portal_says(method, filled, key=key)

    return act


def _limit(scene: Scene) -> str:
    """Keep the victim's node from its work by limits."""
    return scene.portal_says(
        "PATCH",
        f"/api/v1/nodes/{scene.victim.node_id}/",
        key=scene.platform.logins["operator"]["api_key"],
        json={"limits": {"kinds": ["train"]}},
    )


def _rotate(signer: str, node: str) -> Callable[[Scene], str]:
    """Ask for other keys of a node, signed by whoever the attacker can be."""

    def act(scene: Scene) -> str:
        key = factories.make_key()
        owner = scene.victim if node == "victim" else scene.attacker
        request = messages.KeyRotation(
            sent_at=datetime.now(UTC),
            node=owner.node_id,
            public_key=signatures.public_text(scene.victim.key if signer == "stolen" else key),
        ).model_dump_json()
        by = {"attacker": scene.attacker.key, "new": key, "stolen": scene.attacker.key}[signer]
        signed = signatures.sign(request.encode(), key=by)
        proof = signatures.sign(request.encode(), key=key)
        body = {"request": request, "signature": signed, "proof": proof}
        return scene.portal_says("POST", routes.rotation_path(owner.node_id), json=body)

    return act


def _ask(question: str, **fields: str) -> Callable[[Scene], str]:
    def act(scene: Scene) -> str:
        login = scene.attacker.login
        names = {
            "own": scene.attacker.node_id,
            "victim": scene.victim.node_id,
            "vhost": login["vhost"],
            "password": login["password"],
        }
        filled = {name: value.format(**names) for name, value in fields.items()}
        asked = {"username": login["username"], "vhost": login["vhost"], **filled}
        return scene.authority_says(question, **asked)

    return act


def _resource(resource: str, name: str, permission: str) -> Callable[[Scene], str]:
    return _ask("resource", resource=resource, name=name, permission=permission)


def _topic(key: str, permission: str = "write") -> Callable[[Scene], str]:
    return _ask("topic", resource="topic", name="ingress", permission=permission, routing_key=key)


CASES = [
    Case("fetch a picture by its digest alone", LINK, _bare, "portal 403 url_altered"),
    Case("use a link for another blob", LINK, _other_blob, "portal 403 url_altered"),
    Case("lengthen a link's life", LINK, _altered("expires=", "expires=9"), "portal 403 url_altered"),
    Case("change a link's audience", LINK, _altered("audience=x", "audience=y"), "portal 403 url_altered"),
    Case("change a link's signature", LINK, _altered("signature=", "signature=A"), "portal 403 url_altered"),
    Case("use a link after its time", LINK, lambda s: s.portal_says("GET", s.extras["expired"]), "portal 410 url_expired"),
    Case("enrol a second machine with one token", TOKEN, _used_token, "portal 403 token_invalid"),
    Case("enrol with an invented token", TOKEN, lambda s: _enroll(s, "nfe_invented"), "portal 403 token_invalid"),
    Case("enrol the victim's key again", TOKEN, _taken_key, "portal 409 key_taken"),
    Case("ask for a token without an identity check", TOKEN, _unverified, "portal 403 kyc_required"),
    Case("ask for a token as an annotator", TOKEN, _as("annotator", "POST", "/api/v1/nodes/enrollments/"), "portal 403 role_missing"),
    Case("ask for a token without a login", TOKEN, _as("", "POST", "/api/v1/nodes/enrollments/"), "portal 401 not_authenticated"),
    Case("retire the victim's node", OWN, _as("operator", "POST", "/api/v1/nodes/{victim}/retire/"), "portal 404 not_found"),
    Case("pause the victim's node", OWN, _as("operator", "POST", "/api/v1/nodes/{victim}/pause/"), "portal 404 not_found"),
    Case("limit the victim's node", OWN, _limit, "portal 404 not_found"),
    Case("look at the victim's work", OWN, _as("operator", "GET", "/api/v1/nodes/{victim}/replicas/"), "portal 404 not_found"),
    Case("read the client's results", OWN, _as("operator", "GET", "/api/v1/jobs/{job}/results/"), "portal 404 not_found"),
    Case("cancel the client's job", OWN, _as("operator", "POST", "/api/v1/jobs/{job}/cancel/"), "portal 404 not_found"),
    Case("change the victim's key by one's own", KEYS, _rotate("attacker", "victim"), "portal 403 bad_signature"),
    Case("change the victim's key by the new one", KEYS, _rotate("new", "victim"), "portal 403 bad_signature"),
    Case("take over the victim's key", KEYS, _rotate("stolen", "own"), "portal 403 bad_signature"),
    Case("ask for the victim's queue", ASKED, _resource("queue", "node.{victim}", "read"), "authority deny"),
    Case("ask to configure its own queue", ASKED, _resource("queue", "node.{own}", "configure"), "authority deny"),
    Case("ask to write its own queue", ASKED, _resource("queue", "node.{own}", "write"), "authority deny"),
    Case("ask to read ingress", ASKED, _resource("exchange", "ingress", "read"), "authority deny"),
    Case("ask for the default exchange", ASKED, _resource("exchange", "amq.default", "write"), "authority deny"),
    Case("ask for the victim's key on ingress", ASKED, _topic("report.{victim}"), "authority deny"),
    Case("ask for a key with more behind", ASKED, _topic("report.{own}\n"), "authority deny"),
    Case("ask to bind by its key", ASKED, _topic("report.{own}", "read"), "authority deny"),
    Case("ask for another vhost", ASKED, _ask("vhost", vhost="/"), "authority deny"),
    Case("ask for the administrator", ASKED, _ask("user", username="admin", password="{password}"), "authority deny"),
    Case("ask with the victim's name", ASKED, _ask("user", username="node-{victim}", password="{password}"), "authority deny"),
    Case("ask with a name that no database stores", ASKED, _ask("user", username="node-\x00", password="x"), "authority deny"),
]  # fmt: skip
