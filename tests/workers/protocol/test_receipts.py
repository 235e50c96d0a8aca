"""A receipt holds exactly what was signed; its tree is the one of RFC 6962."""

from __future__ import annotations

import copy
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from workers import verify
from workers.protocol import receipts, signatures

KEY = Ed25519PrivateKey.generate()
PUBLIC = signatures.public_text(KEY)


def hashes(count):
    return [receipts.leaf_hash({"chunk": number}) for number in range(count)]


def plain_root(leaves):
    """Return the root as RFC 6962 section 2.1 defines it, recursively."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    sides = plain_root(leaves[:split]) + plain_root(leaves[split:])
    return hashlib.sha256(b"\x01" + sides).digest()


def tree_of(leaves):
    tree = receipts.Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree


def make_receipt(count=3):
    leaves = [
        {"chunk": number, "result": 0.1 * number, "replicas": [{"node": "é"}]}
        for number in range(count)
    ]
    receipt = {
        "v": 1,
        "job": "job_1",
        "chunks": count,
        "is_final": False,
        "merkle_root": tree_of([receipts.leaf_hash(leaf) for leaf in leaves]).root(),
    }
    body = receipts.canonical(receipt)
    signature = signatures.sign(body, key=KEY, domain=receipts.DOMAIN)
    return {"leaves": leaves, "receipt": receipt, "signature": signature}


@given(st.integers(1, 70))
def test_the_tree_that_grows_leaf_by_leaf_is_that_of_the_rfc(count):
    assert tree_of(hashes(count)).root() == plain_root(hashes(count)).hex()


def test_a_tree_without_leaves_has_the_hash_of_nothing():
    assert receipts.Tree().root() == hashlib.sha256(b"").hexdigest()


@given(st.integers(1, 40), st.data())
def test_each_leaf_leads_to_the_root_by_its_path_and_no_other_leaf_does(count, data):
    index = data.draw(st.integers(0, count - 1))
    leaves = hashes(count)
    audit_path = receipts.path(leaves, index)

    root = receipts.root_by_path(leaves[index], index=index, count=count, audit_path=audit_path)
    other = receipts.root_by_path(b"x" * 32, index=index, count=count, audit_path=audit_path)

    assert root == tree_of(leaves).root()
    assert other != root


def test_a_receipt_survives_being_parsed_and_written_again():
    document = json.loads(json.dumps(make_receipt(), indent=3))

    verified = receipts.verify(document, public_key=PUBLIC)

    assert verified == receipts.Verified(
        job="job_1",
        chunks=3,
        replicas=3,
        is_final=False,
        merkle_root=document["receipt"]["merkle_root"],
    )


def change_leaf(document):
    document["leaves"][1]["result"] = 7


def swap_leaves(document):
    document["leaves"].reverse()


def drop_leaf(document):
    document["leaves"].pop()


def add_leaf(document):
    document["leaves"].append({"chunk": 3})


def change_price(document):
    document["receipt"]["spent"] = "0.0000001"


def other_version(document):
    document["receipt"]["v"] = 2


def no_leaves(document):
    del document["leaves"]


def strange_leaf(document):
    document["leaves"][0] = 5


def message_signature(document):
    body = receipts.canonical(document["receipt"])
    document["signature"] = signatures.sign(body, key=KEY)


def path_for_all(document):
    document["path"] = []


ALTERATIONS = (
    change_leaf, swap_leaves, drop_leaf, add_leaf, change_price, other_version, no_leaves,
    strange_leaf, message_signature, path_for_all,
)  # fmt: skip


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_whatever_is_altered_is_found(alter):
    document = copy.deepcopy(make_receipt())
    alter(document)

    with pytest.raises(receipts.BadReceipt):
        receipts.verify(document, public_key=PUBLIC)


def test_another_platforms_key_does_not_fit():
    other = signatures.public_text(Ed25519PrivateKey.generate())

    with pytest.raises(receipts.BadReceipt, match="signature"):
        receipts.verify(make_receipt(), public_key=other)


@pytest.mark.parametrize("place", [0, 2, 3, "1", None])
def test_one_chunk_with_its_path_verifies_only_in_its_place(place):
    whole = make_receipt()
    audit_path = receipts.path([receipts.leaf_hash(leaf) for leaf in whole["leaves"]], 1)
    one = {**whole, "leaves": whole["leaves"][1:2], "path": audit_path}

    assert receipts.verify({**one, "place": 1}, public_key=PUBLIC).chunks == 1
    with pytest.raises(receipts.BadReceipt):
        receipts.verify({**one, "place": place}, public_key=PUBLIC)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["leaves", "receipt", "signature", "v", "path"]), x)
        ),
    )
)
def test_no_document_breaks_the_check(document):
    with pytest.raises(receipts.BadReceipt):
        receipts.verify(document, public_key=PUBLIC)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(make_receipt()))
    return path


def test_the_command_says_that_a_receipt_is_valid(file, capsys):
    assert verify.main([str(file), "--key", PUBLIC]) == 0
    assert capsys.readouterr().out.startswith("valid: job job_1, 3 chunks, 3 replicas, provisional")


def test_the_command_refuses_an_altered_receipt(file, capsys):
    file.write_text(file.read_text().replace('"chunk": 1', '"chunk": 9'))

    assert verify.main([str(file), "--key", PUBLIC]) == 1
    assert capsys.readouterr().err.startswith("NOT VALID: The chunks are not")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_the_command_tells_an_unreadable_file_from_an_invalid_one(file, capsys, text):
    file.write_text(text)

    assert verify.main([str(file), "--key", PUBLIC]) == 2
    assert capsys.readouterr().err.startswith("cannot read: ")


def test_the_command_tells_a_bad_key(file, capsys):
    assert verify.main([str(file), "--key", "abc"]) == 2
    assert "base64" in capsys.readouterr().err
