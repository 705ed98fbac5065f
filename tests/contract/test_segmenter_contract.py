"""The embedded segmenter, on the networks of the package, keeps the segmenter's promises and its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import services.inference
from services.contracts.model_card import ClassSource, FusionRules, ModelCard
from services.runtime.errors import TransientError
from services.runtime.segmenter.cards import ARCHIVE, CARD, read_model_set
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import ModelSetError, Normalisation, NormalisationError, NumericProfile, Segmenter
from tests.contract.segmenter_suite import NORMALISATION, SegmenterContract, content, nucleus_like

SHIPPED = Path(services.inference.__path__[0]) / "models"
MEMBRANE_ALONE = FusionRules(foreground=(ClassSource(class_id=5, network="membrane"),), background="membrane")


@pytest.fixture(scope="module")
def in_process() -> Iterator[InProcessSegmenter]:
    with InProcessSegmenter(SHIPPED) as opened:
        yield opened


@pytest.fixture(scope="module")
def tiled() -> Iterator[InProcessSegmenter]:
    """One thread, and tiles of the smallest useful size."""
    with InProcessSegmenter(SHIPPED, threads=1, tile_px=320) as opened:
        yield opened


class TestInProcessSegmenter(SegmenterContract):
    @pytest.fixture
    def segmenter(self, in_process: InProcessSegmenter) -> Segmenter:
        return in_process


def altered_card(models_dir: Path, name: str, **changes: object) -> None:
    """Change a published card and its folder's name with it."""
    (folder,) = models_dir.glob(f"{name}-*")
    card = ModelCard.model_validate_json((folder / CARD).read_bytes()).model_copy(update=changes)
    (folder / CARD).write_bytes(card.encoded())
    folder.rename(models_dir / card.address)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "models", ignore=shutil.ignore_patterns("*.py", "__pycache__")))


def test_the_number_of_threads_changes_no_bit(in_process: InProcessSegmenter, tiled: InProcessSegmenter) -> None:
    crops = [nucleus_like((120, 88), seed) for seed in range(3)]
    assert content(tiled.segment(crops, NORMALISATION)) == content(in_process.segment(crops, NORMALISATION))


def test_a_large_image_is_segmented_in_tiles_as_it_would_be_whole(
    in_process: InProcessSegmenter, tiled: InProcessSegmenter
) -> None:
    field = nucleus_like((330, 420), 3)
    (whole,) = in_process.segment([field], NORMALISATION)
    (pieces,) = tiled.segment([field], NORMALISATION)
    # Rounding may differ in the last bit of a logit, because a tile's convolutions are blocked otherwise.
    same = pieces.classes_yx == whole.classes_yx
    assert np.mean(same) > 1 - 1e-4
    assert np.abs(pieces.confidence_yx.astype(int) - whole.confidence_yx)[same].max() <= 1


def test_the_fast_profile_agrees_with_the_exact_one(in_process: InProcessSegmenter) -> None:
    crop = nucleus_like((96, 96), 5)
    with InProcessSegmenter(SHIPPED, profile="fast") as fast:
        assert fast.profile is NumericProfile.FAST
        agreement = (
            fast.segment([crop], NORMALISATION)[0].classes_yx == in_process.segment([crop], NORMALISATION)[0].classes_yx
        )
    assert np.mean(agreement) > 0.98


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="approximate"):
        InProcessSegmenter(SHIPPED, profile="approximate")


def test_a_segmenter_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        InProcessSegmenter(SHIPPED, threads=0)


def test_a_closed_segmenter_is_an_outage_and_not_ready() -> None:
    segmenter = InProcessSegmenter(SHIPPED, fusion=MEMBRANE_ALONE)
    assert segmenter.ready()
    segmenter.close()
    segmenter.close()
    assert not segmenter.ready()
    with pytest.raises(TransientError, match="closed"):
        segmenter.segment([np.zeros((16, 16), np.uint8)], NORMALISATION)


def test_an_archive_that_was_altered_is_not_opened(models_dir: Path) -> None:
    (folder,) = models_dir.glob("membrane-*")
    archive = bytearray((folder / ARCHIVE).read_bytes())
    archive[len(archive) // 2] ^= 1
    (folder / ARCHIVE).write_bytes(archive)
    with pytest.raises(ModelSetError, match="vouches"):
        InProcessSegmenter(models_dir, fusion=MEMBRANE_ALONE)


def test_an_archive_for_another_torch_is_not_opened(models_dir: Path) -> None:
    altered_card(models_dir, "membrane", torch_version="1.0.0")
    with pytest.raises(ModelSetError, match=r"exported for torch 1\.0\.0"):
        InProcessSegmenter(models_dir, fusion=MEMBRANE_ALONE)


def test_a_card_that_was_altered_no_longer_fits_its_folder(models_dir: Path) -> None:
    (folder,) = models_dir.glob("membrane-*")
    card = (folder / CARD).read_text()
    (folder / CARD).write_text(card.replace('"voxel_size_nm": 16.0', '"voxel_size_nm": 8.0'))
    with pytest.raises(ModelSetError, match="altered or renamed"):
        read_model_set(models_dir, MEMBRANE_ALONE)


def test_an_absent_network_is_named(models_dir: Path) -> None:
    (folder,) = models_dir.glob("complex-*")
    shutil.rmtree(folder)
    with pytest.raises(ModelSetError, match="0 models named complex"):
        InProcessSegmenter(models_dir)


def test_two_versions_of_a_network_are_refused(models_dir: Path) -> None:
    (folder,) = models_dir.glob("complex-*")
    shutil.copytree(folder, models_dir / "spare" / folder.name)
    altered_card(models_dir / "spare", "complex", licence="another")
    (other,) = (models_dir / "spare").iterdir()
    other.rename(models_dir / other.name)
    with pytest.raises(ModelSetError, match="2 models named complex"):
        InProcessSegmenter(models_dir)


@pytest.mark.parametrize(
    ("offset", "scale"), [(170.0, 0.0), (170.0, -1.0), (float("nan"), 20.0), (170.0, float("inf"))]
)
def test_a_normalisation_that_is_none_is_refused(offset: float, scale: float) -> None:
    with pytest.raises(NormalisationError):
        Normalisation(offset, scale)
