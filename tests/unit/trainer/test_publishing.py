"""A published network is its card, its weights and an archive that runs any shape; it is addressed by their hash."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from services.contracts.architectures import (
    AnyArchitecture,
    MixedScaleDenseArchitecture,
    SmpArchitecture,
    TUNetArchitecture,
)
from services.contracts.model_card import (
    ClassScore,
    DataSource,
    HeldOutScores,
    ModelCard,
    OutputClass,
    TrainingSettings,
)
from services.runtime.segmenter.archives import load_network
from services.runtime.segmenter.cards import ARCHIVE, CARD, WEIGHTS, published
from services.trainer.networks import build_network, folded_network, parameter_count
from services.trainer.publishing import ExportDiffersError, exported_archive, publish, refuse_different
from services.trainer.weights import encoded_weights

ARCHITECTURE = TUNetArchitecture(depth=3, base_channels=2)


def card_for(weights: bytes, archive: bytes, licence: str = "BSD-3-Clause") -> ModelCard:
    return ModelCard(
        name="toy",
        classes=(OutputClass(name="exterior", class_id=0), OutputClass(name="chromosome", class_id=2)),
        architecture=ARCHITECTURE,
        parameters=parameter_count(build_network(ARCHITECTURE, 2, 0)),
        voxel_size_nm=16.0,
        training_data=(DataSource(seed=1, planes=2, sha256="0" * 64),),
        training=TrainingSettings(
            seed=0, steps=1, batch_crops=1, patch_px=16, learning_rate=1e-3, class_weights=(1.0, 1.0)
        ),
        scores=HeldOutScores(
            seeds=(2,), planes=1, classes=(ClassScore(name="exterior", precision=1, recall=1, f1=1, iou=1),)
        ),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        torch_version=torch.__version__.partition("+")[0],
        licence=licence,
    )


@pytest.fixture(scope="module")
def contents() -> tuple[bytes, bytes]:
    network = build_network(ARCHITECTURE, 2, seed=4).eval()
    return encoded_weights(network.state_dict()), exported_archive(
        folded_network(ARCHITECTURE, 2, network.state_dict()), ARCHITECTURE
    )


def test_a_published_model_is_read_back_and_computes_what_was_trained(
    tmp_path: Path, contents: tuple[bytes, bytes]
) -> None:
    weights, archive = contents
    folder = publish(tmp_path, card_for(weights, archive), weights, archive)
    (card,) = published(tmp_path)
    assert folder.name == card.address == f"toy-{card.digest[:12]}"
    assert sorted(path.name for path in folder.iterdir()) == sorted([CARD, WEIGHTS, ARCHIVE])
    trained = build_network(ARCHITECTURE, 2, seed=0)
    trained.load_state_dict(load((folder / WEIGHTS).read_bytes()))
    served = load_network(tmp_path, card)
    # The shapes differ from the one it was exported with, in batch, rows and columns.
    for shape in ((1, 1, 8, 8), (3, 1, 24, 48), (1, 1, 108, 432)):
        images = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(served(images), trained.eval()(images), rtol=1e-4, atol=1e-5)


def test_a_shape_off_the_networks_stride_is_refused_by_the_archive(
    tmp_path: Path, contents: tuple[bytes, bytes]
) -> None:
    weights, archive = contents
    publish(tmp_path, card_for(weights, archive), weights, archive)
    (card,) = published(tmp_path)
    with pytest.raises((AssertionError, RuntimeError)):
        load_network(tmp_path, card)(torch.zeros(1, 1, 10, 16))


def test_the_archive_is_the_same_every_time_and_names_no_file_of_this_machine(contents: tuple[bytes, bytes]) -> None:
    weights, archive = contents
    again = build_network(ARCHITECTURE, 2, seed=4).eval()
    assert encoded_weights(again.state_dict()) == weights
    assert exported_archive(folded_network(ARCHITECTURE, 2, again.state_dict()), ARCHITECTURE) == archive
    here = Path(__file__).resolve()
    assert not any(str(parent).encode() in archive for parent in list(here.parents)[:-1])
    assert b".py" not in archive


def test_a_new_version_replaces_the_older_one_of_its_name(tmp_path: Path, contents: tuple[bytes, bytes]) -> None:
    weights, archive = contents
    first = publish(tmp_path, card_for(weights, archive), weights, archive)
    second = publish(tmp_path, card_for(weights, archive, licence="another"), weights, archive)
    assert first != second
    assert list(tmp_path.iterdir()) == [second]
    assert publish(tmp_path, card_for(weights, archive, licence="another"), weights, archive) == second


def test_the_older_version_stays_until_the_new_one_is_there(
    tmp_path: Path, contents: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, archive = contents
    first = publish(tmp_path, card_for(weights, archive), weights, archive)

    def full(_from: Path, _to: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="No space left"):
            publish(tmp_path, card_for(weights, archive, licence="another"), weights, archive)
    assert sorted(path.name for path in first.iterdir()) == sorted([CARD, WEIGHTS, ARCHIVE])
    second = publish(tmp_path, card_for(weights, archive, licence="another"), weights, archive)
    assert list(tmp_path.iterdir()) == [second]


def test_a_damaged_model_is_whole_again_when_it_is_published_again(
    tmp_path: Path, contents: tuple[bytes, bytes]
) -> None:
    weights, archive = contents
    folder = publish(tmp_path, card_for(weights, archive), weights, archive)
    (folder / WEIGHTS).write_bytes(b"damaged")
    (folder / ARCHIVE).unlink()
    assert publish(tmp_path, card_for(weights, archive), weights, archive) == folder
    assert ((folder / WEIGHTS).read_bytes(), (folder / ARCHIVE).read_bytes()) == contents
    assert list(tmp_path.iterdir()) == [folder]


def test_contents_that_the_card_does_not_promise_are_not_published(
    tmp_path: Path, contents: tuple[bytes, bytes]
) -> None:
    weights, archive = contents
    with pytest.raises(ValueError, match="promises other contents"):
        publish(tmp_path, card_for(weights, archive), weights + b" ", archive)
    with pytest.raises(ValueError, match="promises other contents"):
        publish(tmp_path, card_for(weights, archive), weights, archive + b" ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "architecture",
    [
        TUNetArchitecture(depth=3, base_channels=2, up_kernel_px=3),
        TUNetArchitecture(depth=2, base_channels=2, input_planes=3),
        TUNetArchitecture(depth=2, base_channels=2, dimensions=3),
        MixedScaleDenseArchitecture(family="dlsia.MixedScaleDenseNetwork", layers=3, max_dilation=4),
        MixedScaleDenseArchitecture(family="dlsia.MixedScaleDenseNetwork", layers=2, max_dilation=2, dimensions=3),
        pytest.param(SmpArchitecture(family="smp"), marks=pytest.mark.slow),
        pytest.param(SmpArchitecture(family="smp", decoder="FPN"), marks=pytest.mark.slow),
    ],
    ids=lambda a: f"{a.family}-{a.dimensions}d-{a.input_planes}",
)
def test_the_archive_of_every_architecture_computes_what_the_network_does(architecture: AnyArchitecture) -> None:
    network = build_network(architecture, 3, seed=4)
    folded = folded_network(architecture, 3, network.state_dict())
    refuse_different(folded, exported_archive(folded, architecture), architecture)


def test_an_export_that_differs_from_its_network_is_refused(contents: tuple[bytes, bytes]) -> None:
    network = folded_network(ARCHITECTURE, 2, build_network(ARCHITECTURE, 2, seed=4).state_dict())
    with torch.no_grad():
        next(network.parameters()).add_(0.01)
    with pytest.raises(ExportDiffersError, match="not published"):
        refuse_different(network, contents[1], ARCHITECTURE)


def test_an_export_that_gives_no_numbers_is_refused(contents: tuple[bytes, bytes]) -> None:
    network = folded_network(ARCHITECTURE, 2, build_network(ARCHITECTURE, 2, seed=4).state_dict())
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(ExportDiffersError):
        refuse_different(network, contents[1], ARCHITECTURE)


EXPORTING = """
import hashlib, sys
from services.contracts.architectures import TUNetArchitecture
from services.trainer.networks import build_network
from services.trainer.publishing import exported_archive
architecture = TUNetArchitecture(depth=2, base_channels=4, growth_rate=1.5)
network = build_network(architecture, 2, seed=0).eval()
sys.stdout.write(hashlib.sha256(exported_archive(network, architecture)).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_export_is_the_same_in_every_process() -> None:
    # Where something takes the order of a set, it is another one for another seed of the hashes.
    hashes = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", EXPORTING],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},  # noqa: TID251 (handed on, not read)
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(hashes) == 1
