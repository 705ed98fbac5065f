"""Looking at a folder that is being written into."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.ingest.inspection import Wanted, look_at_folder
from services.ingest.names import DEFAULT_PATTERN, NameRules, compile_pattern
from tests.support.tiff_corpus import plane, written

RULES = NameRules(compile_pattern(DEFAULT_PATTERN))


def test_a_file_that_goes_away_while_a_folder_is_looked_at_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for z in range(3):
        (tmp_path / f"slice_{z}.tif").write_bytes(written([plane(z)]))
    opened = Path.open

    def vanishing(path: Path, *args: str) -> object:
        if path.name == "slice_1.tif":
            raise FileNotFoundError(path)
        if path.name == "slice_2.tif":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args)  # type: ignore[call-overload]

    # The system's part is played: no test can time another program's removal.
    monkeypatch.setattr(Path, "open", vanishing)
    found = look_at_folder(tmp_path, RULES, Wanted())
    assert [(look.name, look.faults) for look in found.looked_at] == [
        ("slice_0.tif", ()),
        ("slice_2.tif", (("unreadable", "Permission denied"),)),
    ]


def test_an_empty_folder_has_nothing_against_it(tmp_path: Path) -> None:
    found = look_at_folder(tmp_path, RULES, Wanted((4.0, 4.0)))
    assert (found.names, found.findings) == (0, ())


def test_only_so_many_files_are_opened_however_many_there_are(tmp_path: Path) -> None:
    for z in range(50):
        (tmp_path / f"slice_{z}.tif").write_bytes(b"")
    found = look_at_folder(tmp_path, RULES, Wanted(), most_files=5)
    assert [look.name for look in found.looked_at] == [f"slice_{z}.tif" for z in (0, 12, 24, 37, 49)]
    assert found.names == 50
