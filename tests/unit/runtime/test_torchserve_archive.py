"""The model archive holds data alone, the same bytes each time; its handler serves what the process computes."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import services.inference
from services.contracts.model_card import ClassSource, FusionRules
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import CANARY_NORMALISATION, ModelSetError, Normalisation, canary_crop
from services.runtime.segmenter.serving import CanaryError
from services.runtime.segmenter.serving_description import Description, planes_sha256
from services.runtime.segmenter.torchserve_archive import Contents, build_archive, read_contents
from services.runtime.segmenter.torchserve_handler import NucleusHandler
from services.runtime.segmenter.windows import Window
from services.runtime.segmenter.wire import DESCRIBE, Request, WireError, decode_reply, encode_reply, encode_request
from tests.contract.segmenter_suite import nucleus_like

pytestmark = pytest.mark.slow

SHIPPED = Path(services.inference.__path__[0]) / "models"
MEMBRANE_ALONE = FusionRules(foreground=(ClassSource(class_id=5, network="membrane"),), background="membrane")
NORMALISATION = Normalisation(170.0, 20.0)


class RecordingContext:
    """Stands in for TorchServe's context and metrics."""

    def __init__(self, model_dir: Path) -> None:
        self.system_properties: Mapping[str, Any] = {"model_dir": str(model_dir), "gpu_id": None}
        self.statuses: dict[int, tuple[int, str]] = {}
        self.types: dict[int, str] = {}
        self.counts: dict[str, float] = {}

    @property
    def metrics(self) -> RecordingContext:
        return self

    def add_counter(self, name: str, value: float, idx: str | None = None, *, dimensions: list[object]) -> None:
        assert idx is None
        assert dimensions == []
        self.counts[name] = self.counts.get(name, 0.0) + value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.statuses[idx] = (code, phrase)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.types[idx] = value


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "nucleus.mar"
    build_archive(SHIPPED, path, MEMBRANE_ALONE)
    return path


@pytest.fixture
def unpacked(archive: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(tmp_path)
    return tmp_path


def test_the_same_models_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    build_archive(SHIPPED, tmp_path / "again.mar", MEMBRANE_ALONE)
    assert (tmp_path / "again.mar").read_bytes() == archive.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.mar"]


def test_it_holds_no_code_and_names_its_handler(archive: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        names = zipped.namelist()
        manifest = json.loads(zipped.read("MAR-INF/MANIFEST.json"))
    assert {Path(name).suffix for name in names} == {".json", ".bin", ".pt2"}
    assert manifest["model"] == {
        "handler": "services.runtime.segmenter.torchserve_handler", "modelName": "nucleus", "modelVersion": "1.0",
    }  # fmt: skip


def test_it_says_what_it_holds(unpacked: Path) -> None:
    contents, known = read_contents(unpacked)
    assert contents.models == tuple(path.name for path in (unpacked / "models").iterdir())
    assert contents.canary_sha256 == planes_sha256(known)


def test_an_altered_network_gets_into_no_archive(tmp_path: Path) -> None:
    models = Path(shutil.copytree(SHIPPED, tmp_path / "models"))
    (network,) = models.glob("membrane-*/network.pt2")
    network.write_bytes(network.read_bytes() + b"\0")
    with pytest.raises(ModelSetError, match="vouches"):
        build_archive(models, tmp_path / "nucleus.mar", MEMBRANE_ALONE)
    assert not (tmp_path / "nucleus.mar").exists()


def test_the_handler_serves_what_the_process_computes(unpacked: Path) -> None:
    context = RecordingContext(unpacked)
    handler = NucleusHandler()
    handler.initialize(context)
    crops = [nucleus_like((40, 56), seed) for seed in range(3)]
    bodies = [encode_request(Request(Window(crop, NORMALISATION))) for crop in crops]
    posted: list[dict[str, object]] = [{"body": bytearray(body)} for body in bodies]
    replies = handler.handle([*posted, {"body": {"parsed": 1}}, {"form": b"1"}, {"data": DESCRIBE}], context)
    with InProcessSegmenter(SHIPPED, fusion=MEMBRANE_ALONE) as in_process:
        expected = in_process.segment(crops, NORMALISATION)
        assert Description.model_validate_json(replies[5]).model_set() == in_process.model_set()
    for crop, reply, answer in zip(crops, replies[:3], expected, strict=True):
        assert planes_sha256(decode_reply(reply, crop)) == planes_sha256(answer)
    assert [context.statuses[k][0] for k in range(6)] == [200, 200, 200, 400, 400, 200]
    assert context.types[0] == "application/octet-stream"
    assert context.counts.pop("fibsem_server_busy_seconds_total") > 0
    assert context.counts == {
        "fibsem_server_batches_total": 1, "fibsem_server_requests_total": 6, "fibsem_server_refused_total": 2,
        "fibsem_server_crops_total": 3, "fibsem_server_pixels_total": 3 * 40 * 56,
        "fibsem_server_out_of_memory_total": 0,
    }  # fmt: skip


def test_an_archive_altered_after_it_was_built_is_not_served(unpacked: Path) -> None:
    (network,) = unpacked.glob("models/*/network.pt2")
    network.write_bytes(network.read_bytes() + b"\0")
    with pytest.raises(ModelSetError, match="vouches"):
        NucleusHandler().initialize(RecordingContext(unpacked))


def test_networks_that_answer_the_canary_otherwise_are_not_served(unpacked: Path) -> None:
    _, known = read_contents(unpacked)
    other = type(known)((known.classes_yx + 1) % 6, known.confidence_yx)
    canary = Request(Window(canary_crop(), CANARY_NORMALISATION))
    (unpacked / "canary.bin").write_bytes(encode_reply(canary, other))
    with pytest.raises(CanaryError, match="classes"):
        NucleusHandler().initialize(RecordingContext(unpacked))


def test_contents_that_name_other_models_are_not_served(unpacked: Path) -> None:
    contents, _ = read_contents(unpacked)
    other = contents.model_copy(update={"model_set_digest": "0" * 64})
    (unpacked / "segmenter.json").write_text(Contents.model_dump_json(other))
    with pytest.raises(ModelSetError, match="the archive says 0000"):
        NucleusHandler().initialize(RecordingContext(unpacked))


def test_a_damaged_canary_is_not_read(unpacked: Path) -> None:
    (unpacked / "canary.bin").write_bytes((unpacked / "canary.bin").read_bytes()[:-1])
    with pytest.raises(WireError):
        read_contents(unpacked)
