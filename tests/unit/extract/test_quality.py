"""Quality of slices between detection and following: artefacts, records, messages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from services.contracts.codec import decode, encode
from services.contracts.keys import sha256
from services.contracts.messages import SliceJudged
from services.contracts.values import ArtefactRef
from services.extract.quality import (
    QualityFormatError,
    QualityRecord,
    SliceQuality,
    judged_message,
    quality_from_bytes,
    quality_of,
    quality_to_bytes,
)

VOXEL_NM = 16.0


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    """Return the quality of forty slices, the thirtieth of which lies much deeper than the one before it."""
    rng = np.random.default_rng(4)
    field = gaussian_filter(rng.standard_normal((60, 96, 96), dtype=np.float32), 2.5)
    depths = [*range(30), *range(40, 50)]
    found = []
    for depth in depths:
        grey = 140 + 25 * field[depth] / field.std() + 6 * rng.standard_normal((96, 96))
        quality = quality_of(np.clip(grey, 0, 255).astype(np.uint8), (VOXEL_NM, VOXEL_NM))
        assert quality is not None
        found.append(quality_to_bytes(quality))
    return found


def ref(z: int, payload: bytes) -> ArtefactRef:
    return ArtefactRef(key=f"a/quality/z{z:06d}", sha256=sha256(payload), size_bytes=len(payload))


def told(record: QualityRecord, z: int, payload: bytes) -> SliceJudged:
    verdict = record.judge(z, ref(z, payload), quality_from_bytes(payload), VOXEL_NM)
    return judged_message("a", z, verdict, VOXEL_NM)


def test_quality_survives_its_journey(payloads: list[bytes]) -> None:
    quality = quality_from_bytes(payloads[0])
    assert quality_to_bytes(quality) == payloads[0]
    assert isinstance(quality, SliceQuality)
    assert quality.reduced.plane.shape == (48, 48)


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"{}"])
def test_damaged_bytes_are_refused(damage: bytes) -> None:
    with pytest.raises(QualityFormatError, match="not the quality of a slice"):
        quality_from_bytes(damage)


def test_cut_short_bytes_are_refused(payloads: list[bytes]) -> None:
    with pytest.raises(QualityFormatError):
        quality_from_bytes(payloads[0][:-9])


def test_a_slice_of_a_few_pixels_has_no_quality() -> None:
    pixels: NDArray[np.uint8] = np.zeros((20, 20), np.uint8)
    assert quality_of(pixels, (VOXEL_NM, VOXEL_NM)) is None


@pytest.mark.parametrize("stop", [1, 5, 29, 30, 31])
def test_a_restored_record_judges_as_if_nothing_had_happened(payloads: list[bytes], stop: int) -> None:
    store = {ref(z, payload).key: payload for z, payload in enumerate(payloads)}
    record = QualityRecord()
    undisturbed = [told(record, z, payload) for z, payload in enumerate(payloads)]
    first = QualityRecord()
    before = [told(first, z, payload) for z, payload in enumerate(payloads[:stop])]
    kept = json.loads(json.dumps(first.to_json()))
    second = QualityRecord.from_json(kept, lambda wanted: store[wanted.key])
    after = [told(second, z, payload) for z, payload in enumerate(payloads) if z >= stop]
    assert before + after == undisturbed


def test_a_verdict_travels_with_its_numbers(payloads: list[bytes]) -> None:
    record = QualityRecord()
    messages = [told(record, z, payload) for z, payload in enumerate(payloads)]
    assert [message.z for message in messages if not message.reliable] == [30]
    jump = messages[30]
    assert jump.troubles[0].trouble == "z_jump"
    assert jump.troubles[0].severity >= 1
    assert jump.thickness_nm is not None
    assert jump.thickness_nm > 2 * VOXEL_NM
    assert decode("SliceJudged", encode(jump)) == jump
