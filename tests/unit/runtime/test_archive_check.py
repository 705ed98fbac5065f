"""A model archive is verified before a server opens it: nothing in it that its cards do not vouch for."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import services.inference
from services.contracts.model_card import RECOMMENDED_FUSION
from services.runtime.segmenter.archive_check import ArchiveRefusedError, check_archive
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.torchserve_archive import Contents, manifest

SHIPPED = Path(services.inference.__path__[0]) / "models"
MODEL_SET = read_model_set(SHIPPED, RECOMMENDED_FUSION)
Files = dict[str, bytes]


def files() -> Files:
    """Return what an archive of the shipped models holds; the answer to the canary is for who has the networks."""
    contents = Contents(
        model_set_digest=MODEL_SET.digest, fusion=MODEL_SET.fusion, models=MODEL_SET.names, canary_sha256="0" * 64
    )
    found = {
        "MAR-INF/MANIFEST.json": manifest(),
        "segmenter.json": contents.model_dump_json().encode(),
        "canary.bin": b"",
    }
    for name in MODEL_SET.names:
        for part in ("card.json", "network.pt2"):
            found[f"models/{name}/{part}"] = (SHIPPED / name / part).read_bytes()
    return found


def written(path: Path, content: Files, how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as zipped:
        for name, payload in content.items():
            zipped.writestr(name, payload)
    return path


def network_of(content: Files) -> str:
    return next(name for name in content if name.endswith("network.pt2"))


def altered_network(content: Files) -> Files:
    name = network_of(content)
    middle = len(content[name]) // 2
    flipped = bytes([content[name][middle] ^ 1])
    return content | {name: content[name][:middle] + flipped + content[name][middle + 1 :]}


def other_network_with_a_card_of_its_own(content: Files) -> Files:
    name = network_of(content).replace("network.pt2", "card.json")
    return content | {name: content[name].replace(b'"voxel_size_nm": 16.0', b'"voxel_size_nm": 8.0')}


def other_handler(content: Files) -> Files:
    named = json.loads(manifest())
    named["model"]["handler"] = "evil.py"
    return content | {"MAR-INF/MANIFEST.json": json.dumps(named).encode()}


def code_beside_the_networks(content: Files) -> Files:
    return content | {"services/__init__.py": b"print('run by the worker')"}


def a_path_out_of_it(content: Files) -> Files:
    return content | {"../../handler.py": b"print('run by the worker')"}


def another_model_set(content: Files) -> Files:
    contents = Contents.model_validate_json(content["segmenter.json"])
    kept = contents.models[:1]
    fewer = contents.model_copy(update={"models": kept})
    return {
        name: payload for name, payload in content.items() if "/" not in name or kept[0] in name or "MAR" in name
    } | {"segmenter.json": fewer.model_dump_json().encode()}


def no_contents(content: Files) -> Files:
    return {name: payload for name, payload in content.items() if name != "segmenter.json"}


ATTACKS: tuple[tuple[Callable[[Files], Files], str], ...] = (
    (altered_network, "is not the one its card vouches for"),
    (other_network_with_a_card_of_its_own, "is that of"),
    (other_handler, "handler"),
    (code_beside_the_networks, "services/__init__.py"),
    (a_path_out_of_it, "handler.py"),
    (another_model_set, "no model archive|not [0-9a-f]{64}"),
    (no_contents, "no model archive"),
)


def test_the_archive_of_the_installed_models_is_let_through(tmp_path: Path) -> None:
    check_archive(written(tmp_path / "nucleus.mar", files()), MODEL_SET.digest)


@pytest.mark.parametrize(("attack", "said"), ATTACKS, ids=lambda value: getattr(value, "__name__", None))
def test_an_archive_that_was_tampered_with_is_refused(
    attack: Callable[[Files], Files], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveRefusedError, match=said):
        check_archive(written(tmp_path / "nucleus.mar", attack(files())), MODEL_SET.digest)


def test_another_model_set_than_the_one_wanted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefusedError, match="not 0000"):
        check_archive(written(tmp_path / "nucleus.mar", files()), "0" * 64)


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "nucleus.mar", files(), zipfile.ZIP_DEFLATED)
    with pytest.raises(ArchiveRefusedError, match="compressed"):
        check_archive(path, MODEL_SET.digest)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nucleus.mar").write_bytes(b"#!/bin/sh\n")
    for name in ("nucleus.mar", "absent.mar"):
        with pytest.raises(ArchiveRefusedError, match="no model archive"):
            check_archive(tmp_path / name, MODEL_SET.digest)


@pytest.mark.slow
def test_the_command_lets_a_server_start_or_not_by_its_exit_status(tmp_path: Path) -> None:
    good = written(tmp_path / "good.mar", files())
    bad = written(tmp_path / "bad.mar", altered_network(files()))
    command = [sys.executable, "-m", "services.runtime.segmenter.archive_check"]
    status = [
        subprocess.run([*command, str(path)], capture_output=True, check=False).returncode for path in (good, bad)
    ]
    assert status == [0, 1]
