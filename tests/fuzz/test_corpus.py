"""What fuzzing found is read again in every test run: refused or read, and nothing else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("reader", READERS)
def test_what_fuzzing_found_is_refused_or_read(reader: str) -> None:
    with zipfile.ZipFile(HERE / f"{reader}.zip") as corpus:
        names = corpus.namelist()
        assert names
        for name in names:
            READERS[reader](corpus.read(name))
