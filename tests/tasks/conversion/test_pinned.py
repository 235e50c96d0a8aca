from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest

from tasks.conversion import pinned


def test_the_built_file_is_the_one_described(built: pinned.Built) -> None:
    data = built.path.read_bytes()

    assert built.digest == hashlib.sha256(data).hexdigest()
    assert built.size_bytes == len(data)
    assert built.source_digest == pinned.SOURCE_SHA256
    assert 33_000_000 < len(data) < 35_000_000
    assert [entry.name for entry in built.path.parent.iterdir()] == [built.path.name]


def test_the_built_model_is_valid_onnx(built: pinned.Built) -> None:
    model = onnx.load(built.path)

    onnx.checker.check_model(model, full_check=True)
    assert model.graph.name == "ssd_mobilenet_v2_coco_2018_03_29"


def test_two_builds_give_the_same_bytes(built: pinned.Built, tmp_path: Path) -> None:
    again = pinned.build(tmp_path / "new" / "folder" / "detector.onnx")

    assert (again.digest, again.size_bytes) == (built.digest, built.size_bytes)


def test_an_altered_source_is_refused_and_the_old_model_stays(tmp_path: Path) -> None:
    output = tmp_path / "detector.onnx"
    output.write_bytes(b"old")
    source = tmp_path / "altered.pb"
    altered = bytearray(pinned.locate().read_bytes())
    altered[1_000_000] ^= 1
    source.write_bytes(altered)

    with pytest.raises(pinned.SourceAltered, match=r"altered\.pb is not the pinned detector"):
        pinned.build(output, source=source)

    assert output.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["altered.pb", "detector.onnx"]


@pytest.mark.parametrize("size_bytes", [0, 1])
def test_a_source_of_another_size_is_refused(tmp_path: Path, size_bytes: int) -> None:
    source = tmp_path / "short.pb"
    source.write_bytes(bytes(size_bytes))

    with pytest.raises(pinned.SourceAltered):
        pinned.read(source)


def test_a_missing_source_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(pinned.SourceMissing, match=r"no file absent\.pb"):
        pinned.build(tmp_path / "detector.onnx", source=tmp_path / "absent.pb")

    assert list(tmp_path.iterdir()) == []


def test_a_distribution_that_is_not_installed_is_named() -> None:
    with pytest.raises(pinned.SourceMissing, match="nodefolk-no-such-thing is not installed"):
        pinned.locate("nodefolk-no-such-thing")


def test_a_distribution_without_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "nodefolk_empty_thing-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: nodefolk-empty-thing\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(pinned.SourceMissing, match="nodefolk-empty-thing is installed without"):
        pinned.locate("nodefolk-empty-thing")
