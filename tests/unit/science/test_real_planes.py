"""The real data are as the tasks expect them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.science import epfl6, membranes, mito
from tests.benchmarks.science.pictures import Division, Picture

pytestmark = pytest.mark.data


def checked(pictures: list[Picture], divisions: tuple[Division, ...], classes: int) -> None:
    for picture in pictures:
        assert picture.grey_yx.dtype == np.uint8
        assert picture.grey_yx.shape == picture.labels_yx.shape
        assert int(picture.labels_yx.max()) < classes
    for division in divisions:
        split = division.split(pictures)
        assert {len(split.training) > 0, len(split.validation) > 0, len(split.test) > 0} == {True}
        named = {*split.training, *split.validation, *split.test}
        # Each part shows every class that the data have.
        for part in (split.training, split.validation, split.test):
            shown = [picture.labels_yx for picture in pictures if picture.name in part]
            assert 1 in np.unique(np.stack(shown))
        assert len(named) == len(division.training | division.validation | division.test)


@pytest.mark.parametrize("binary", [True, False])
def test_epfl(real_data: Path, binary: bool) -> None:
    pictures = epfl6.pictures_of(epfl6.read(real_data), binary=binary)
    checked(pictures, epfl6.FOLDS, 2 if binary else 7)


def test_one_label_per_pixel_costs_mitochondria_little(real_data: Path) -> None:
    bits = np.stack([bits for _, _, bits in epfl6.read(real_data)])
    found = epfl6.CLASSES.mask(epfl6.CLASSES.labels(bits), "mitochondrion")
    true = (bits & 1) > 0
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.98


def test_cdeep3m(real_data: Path) -> None:
    checked(mito.pictures_of(real_data), (mito.DIVISION,), 2)


@pytest.mark.parametrize("name", ["isbi2012", "vnc"])
def test_membranes(real_data: Path, name: str) -> None:
    checked(membranes.pictures_of(real_data, name), (membranes.DIVISIONS[name],), 2)
