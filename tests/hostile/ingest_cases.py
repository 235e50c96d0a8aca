"""What the broker lets through and ingest does not take: envelopes, bodies, replays."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from amqp import Message
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.hostile import broker_cases, scene
from tests.hostile.scene import Case, Scene
from workers.protocol import messages, routes, signatures

SENDER = "routing key, broker-checked user_id, signature and body name one node"
SIGNED = "nothing is read before its signature is checked"
ENVELOPE = "the envelope of a message is obeyed by nobody"
STRICT = "a body is exactly what the protocol says"
ONCE = "a report counts once, for the node and nonce it was asked of"
SILENT = "the platform answers no reply_to"

Send = Callable[[Scene], object]


def _case(attempt: str, rule: str, send: Send, code: str) -> Case:
    stopped_by = code if code == "no effect" else f"ingest {code}"
    return Case(attempt, rule, lambda s: s.ingest_says(lambda: send(s)), stopped_by)


def _beat(s: Scene, node_id: str, **changes: Any) -> bytes:
    fields = {
        "sent_at": datetime.now(UTC),
        "node": node_id,
        "running": [],
        "slots": 1,
        "cached_models": [],
    }
    return messages.Heartbeat(**{**fields, **changes}).model_dump_json().encode()


def _unknown(s: Scene, **changes: Any) -> bytes:
    """A well-formed report of the attacker's about an assignment that is not there."""
    invented = {"assignment": "999999999", "nonce": scene.nonce(), **changes}
    return s.attacker.report(s.mine).model_copy(update=invented).model_dump_json().encode()


def _send(body: Callable[[Scene], bytes], **options: Any) -> Send:
    return lambda s: s.attacker.publish("report", body(s), **options)


def _celery(task: str, *, is_signed: bool) -> Send:
    """Send a Celery message that would run `task` and then publish another."""
    embed = {"callbacks": None, "errbacks": None, "chain": [{"task": task}], "chord": None}

    def send(s: Scene) -> None:
        body = json.dumps([[], {}, embed]).encode()
        headers = {"task": task, "id": "1", "lang": "py", "root_id": "1", "argsrepr": "()"}
        if is_signed:
            headers["signature"] = signatures.sign(body, key=s.attacker.key)
        s.attacker.publish("report", body, headers=headers)

    return send


def _copied(s: Scene, header: str, key: str, body: bytes) -> None:
    """Publish under the attacker's own key with copies to others (CC, BCC)."""
    headers = {
        "signature": signatures.sign(body, key=s.attacker.key),
        header: [key.format(victim=s.victim.node_id)],
    }
    with s.channel() as channel:
        broker_cases.publish(
            channel,
            "ingress",
            routes.ingress_key("heartbeat", s.attacker.node_id),
            body.decode(),
            user_id=s.attacker.login["username"],
            content_encoding="utf-8",
            application_headers=headers,
        )


def _without_user(s: Scene) -> None:
    s.attacker.publish("report", _unknown(s), user_id=None)


def _untyped(s: Scene) -> None:
    """Send a message without any content type; one of these ends a Celery worker."""
    body = _unknown(s)
    headers = {"signature": signatures.sign(body, key=s.attacker.key)}
    key = routes.ingress_key("report", s.attacker.node_id)
    message = Message(body, application_headers=headers, user_id=s.attacker.login["username"])
    with s.channel() as channel:
        channel.confirm_select()
        channel.basic_publish_confirm(message, "ingress", key)


def _raw(properties: bytes) -> Send:
    """Publish with property bytes that no honest client would write."""

    class Odd(Message):
        def _serialize_properties(self) -> bytes:
            return properties

    def send(s: Scene) -> None:
        key = routes.ingress_key("report", s.attacker.node_id)
        with s.channel() as channel:
            channel.confirm_select()
            channel.basic_publish_confirm(Odd(_unknown(s)), "ingress", key)

    return send


def _headers(table: bytes) -> Send:
    """Publish with nothing but this table of headers."""
    return _raw(struct.pack(">HI", 0x2000, len(table)) + table)


def _nested(depth: int) -> bytes:
    """Return a header `x` of arrays in arrays."""
    packed = b""
    for _ in range(depth):
        packed = b"A" + struct.pack(">I", len(packed)) + packed
    return b"\x01x" + packed


def _foreign_key(s: Scene) -> None:
    body = _unknown(s)
    signature = signatures.sign(body, key=Ed25519PrivateKey.generate())
    s.attacker.publish("report", body, signature=signature)


def _other_purpose(s: Scene) -> None:
    """Sign the bare bytes, as for some other protocol."""
    body = _unknown(s)
    raw = s.attacker.key.sign(body)
    s.attacker.publish("report", body, headers={"signature": base64.b64encode(raw).decode()})


def _replayed_beat(s: Scene) -> None:
    """Send the same signed heartbeat twice, after a newer one was heard."""
    sent_at = s.rows("SELECT heartbeat_sent_at FROM tasks_node WHERE id = %s", s.attacker.node_id)[
        0
    ][0]
    s.attacker.publish("heartbeat", _beat(s, s.attacker.node_id, sent_at=sent_at, slots=30))


def _again(**changes: Any) -> Send:
    """Report the paid assignment again, some of it changed."""

    def send(s: Scene) -> None:
        report = messages.Report.model_validate_json(s.my_report)
        changed = report.model_copy(update={"sent_at": datetime.now(UTC), **changes})
        s.attacker.send("report", changed)

    return send


def _exact_replay(s: Scene) -> None:
    for _ in range(5):
        s.attacker.publish("report", s.my_report)


def _foreign_work(s: Scene) -> None:
    """Report the victim's assignment, nonce and all, as one's own."""
    s.attacker.send("report", s.attacker.report(s.theirs))


def _as_the_victim(s: Scene) -> None:
    body = s.victim.report(s.theirs).model_dump_json().encode()
    s.attacker.publish("report", body)


def _bundle(s: Scene, *bodies: bytes, **changes: Any) -> bytes:
    """Put reports into one message, unchecked as only an attacker's program would."""
    fields = {"v": 1, "sent_at": datetime.now(UTC).isoformat(), "kind": "reports"}
    reports = [json.loads(body) for body in bodies]
    return json.dumps(
        {**fields, "node": s.attacker.node_id, "reports": reports, **changes}
    ).encode()


def _victims_report(s: Scene) -> bytes:
    return s.victim.report(s.theirs).model_dump_json().encode()


def _reply_to(s: Scene) -> str:
    """Ask for answers to `amq.rabbitmq.reply-to`; none may come."""
    got: list[Any] = []

    def send() -> None:
        with s.channel() as channel:
            channel.basic_consume("amq.rabbitmq.reply-to", callback=got.append, no_ack=True)
            broker_cases.publish(
                channel,
                "ingress",
                routes.ingress_key("report", s.attacker.node_id),
                user_id=s.attacker.login["username"],
                reply_to="amq.rabbitmq.reply-to",
            )
            s.settle()
            try:
                channel.connection.drain_events(timeout=0.2)
            except TimeoutError:
                return

    said = s.ingest_says(send)
    return said if not got else "an answer came"


def _ack(job: Callable[[Scene], str]) -> Send:
    return lambda s: s.attacker.ack(job(s), slots=32)


_OPTIONS: dict[str, Any] = {"content_encoding": "binary"}

CASES = [
    _case("leave user_id out", SENDER, _without_user, "user_mismatch"),
    _case(
        "sign as oneself what the victim would say",
        SENDER,
        lambda s: s.attacker.publish("heartbeat", _beat(s, s.victim.node_id)),
        "node_mismatch",
    ),
    _case(
        "copy to the victim's heartbeats (CC)",
        SENDER,
        lambda s: _copied(s, "CC", "heartbeat.{victim}", _beat(s, s.victim.node_id)),
        "node_mismatch",
    ),
    _case(
        "copy to the acks of the victim (BCC)",
        SENDER,
        lambda s: _copied(s, "BCC", "ack.{victim}", _beat(s, s.victim.node_id)),
        "node_mismatch",
    ),
    _case(
        "copy into the platform's own work (CC)",
        SENDER,
        lambda s: _copied(s, "CC", "work", _beat(s, s.victim.node_id)),
        "node_mismatch",
    ),
    _case("leave the signature out", SIGNED, _send(_unknown, signature=None), "bad_signature"),
    _case("sign with a key of no node", SIGNED, _foreign_key, "bad_signature"),
    _case("sign for another purpose", SIGNED, _other_purpose, "bad_signature"),
    _case("send a number as the signature", SIGNED, _send(_unknown, headers={"signature": 7}), "bad_signature"),
    _case("send a Celery task with a chain", ENVELOPE, _celery("tasks.sweep", is_signed=False), "bad_signature"),
    _case("send a signed Celery task with a chain", ENVELOPE, _celery("payments.mature", is_signed=True), "invalid"),
    _case("name a task that only nodes have", ENVELOPE, _celery("node.assign", is_signed=True), "invalid"),
    _case("name a built-in Celery task", ENVELOPE, _celery("celery.backend_cleanup", is_signed=True), "invalid"),
    _case("send pickle", ENVELOPE, _send(lambda s: pickle.dumps({"a": 1}), content_type="application/x-python-serialize", **_OPTIONS), "content_type"),
    _case("send YAML", ENVELOPE, _send(lambda s: b"!!python/object:os.system {}", content_type="application/x-yaml"), "content_type"),
    _case("send an unknown content type", ENVELOPE, _send(_unknown, content_type="application/x-mine"), "content_type"),
    _case("send no content type", ENVELOPE, _untyped, "content_type"),
    _case("send gzip as the encoding", ENVELOPE, _send(lambda s: gzip.compress(_unknown(s)), content_encoding="gzip"), "content_type"),
    _case("send a compression header", ENVELOPE, _send(_unknown, headers={"compression": "application/x-gzip"}), "compressed"),
    _case("ask for redelivery in ten years (eta)", ENVELOPE, _send(_unknown, headers={"eta": "2036-01-01T00:00:00", "timelimit": ["abc", {}]}), "bad_signature"),
    _case("send a header from beyond the year 9999", ENVELOPE, _headers(b"\x01xT" + b"\x7f" * 8), "user_mismatch"),
    _case("send a date from beyond the year 9999", ENVELOPE, _raw(struct.pack(">H", 0x0040) + b"\x7f" * 8), "user_mismatch"),
    _case("send headers nested 20,000 deep", ENVELOPE, _headers(_nested(20_000)), "user_mismatch"),
    _case("send a content type that is no UTF-8", ENVELOPE, _raw(struct.pack(">HB", 0x8000, 1) + b"\xff"), "user_mismatch"),
    _case("send a slow codec as the encoding", ENVELOPE, _send(_unknown, content_encoding="punycode"), "content_type"),
    _case("nest lists 50,000 deep", STRICT, _send(lambda s: b"[" * 50_000 + b"]" * 50_000), "invalid"),
    _case("send a number of 100,000 digits", STRICT, _send(lambda s: b'{"v":' + b"9" * 100_000 + b"}"), "invalid"),
    _case("send 60 kB of headers", STRICT, _send(_unknown, headers={"bomb": "x" * 60_000}), "bad_signature"),
    _case("send NaN as a score", STRICT, _send(lambda s: s.my_report.replace(b"0.9", b"NaN")), "invalid"),
    _case("add a field", STRICT, _send(lambda s: s.my_report.replace(b'{"v":1', b'{"v":1,"owner":1')), "invalid"),
    _case("send another version", STRICT, _send(lambda s: s.my_report.replace(b'{"v":1', b'{"v":2')), "invalid"),
    _case("send bytes that are no UTF-8", STRICT, _send(lambda s: b"\xff\xfe{}"), "invalid"),
    _case("send a heartbeat as a report", STRICT, _send(lambda s: _beat(s, s.attacker.node_id)), "invalid"),
    _case("send the paid report again, five times", ONCE, _exact_replay, "no effect"),
    _case("report the paid work with another answer", ONCE, _again(answers=[]), "no effect"),
    _case("report the paid work with another nonce", ONCE, _again(nonce=scene.nonce()), "no effect"),
    _case("report the paid work as failed", ONCE, _again(status="failed", reason="x"), "no effect"),
    _case("report an assignment that is not there", ONCE, _send(_unknown), "no effect"),
    _case("report the victim's assignment", ONCE, _foreign_work, "no effect"),
    _case("send the victim's report under one's own name", SENDER, _as_the_victim, "node_mismatch"),
    _case("hide the victim's report among one's own", SENDER, _send(lambda s: _bundle(s, _unknown(s), _victims_report(s))), "invalid"),
    _case("send a bundle in the victim's name", SENDER, _send(lambda s: _bundle(s, _victims_report(s), node=s.victim.node_id)), "node_mismatch"),
    _case("send the paid report again in a bundle, twice", ONCE, _send(lambda s: _bundle(s, s.my_report, s.my_report)), "no effect"),
    _case("report the victim's assignment in a bundle", ONCE, _send(lambda s: _bundle(s, s.my_report, s.attacker.report(s.theirs).model_dump_json().encode())), "no effect"),
    _case("nest a bundle in a bundle", STRICT, _send(lambda s: _bundle(s, _bundle(s, s.my_report))), "invalid"),
    _case("send 51 reports in one message", STRICT, _send(lambda s: _bundle(s, *[_unknown(s)] * 51)), "invalid"),
    _case("send an empty bundle", STRICT, _send(_bundle), "invalid"),
    _case("send an old heartbeat again", ONCE, _replayed_beat, "no effect"),
    _case("acknowledge a job that is over", ONCE, _ack(lambda s: s.mine.job), "no effect"),
    _case("acknowledge a job that is not there", ONCE, _ack(lambda s: "job_0"), "no effect"),
    Case("ask for answers (reply_to)", SILENT, _reply_to, "ingest bad_signature"),
]  # fmt: skip
