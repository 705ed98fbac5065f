"""The segmenter that stands in for networks in tests of the pipeline keeps a segmenter's promises."""

from __future__ import annotations

import pytest

from services.runtime.segmenter.port import Segmenter
from tests.contract.segmenter_suite import SegmenterContract
from tests.support.grey_segmenter import GreySegmenter


class TestGreySegmenter(SegmenterContract):
    @pytest.fixture
    def segmenter(self) -> Segmenter:
        return GreySegmenter()
