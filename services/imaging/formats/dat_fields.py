"""Fields of the header of a Janelia `.dat` file, version by version.

The places are those that the community's field tables record (jeiss-specs, Chris Barnes 2022, MIT licence; after
fibsem-tools, D. Bennett); they are set out here anew, a test compares them with the tables. The instrument's own
documentation is not public.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

MAGIC = 3_555_587_570
HEADER_BYTES = 1024
FIRST_VERSION, LAST_VERSION = 1, 9

# Versions, type (big-endian), then name@byte.
_PLACES = """
1-9 S10 SWdate@8 DetA@380
1-9 S18 DetB@390
1-9 S200 Notes@180
1-9 f8 TimeStep@24
1-9 i8 FileLength@1000
1-9 u1 ChanNum@32 EightBit@33 ZeissScanSpeed@111 AI1@151 AI2@152 AI3@153 AI4@154 Mode@600
1-9 u2 FileVersion@4 FileType@6
1-9 u4 FileMagicNum@0 XResolution@100 YResolution@104
1-3 f8 ScanRate@112 FramelineRampdownRatio@120 Xmin@128 Xmax@136
1-3 i2 AIDelay@109
1-3 u1 Oversampling@108
1-2 S20 DetC@700 DetD@720
1-2 f8 Mag@408 PixelSize@416 WD@424 EHT@432 SEMCurr@448 SEMRot@456 ChamVac@464 GunVac@472 SEMStiX@480 SEMStiY@488
1-2 f8 SEMAlnX@496 SEMAlnY@504 StageX@512 StageY@520 StageZ@528 StageT@536 StageR@544 StageM@552 BrightnessA@560
1-2 f8 ContrastA@568 BrightnessB@576 ContrastB@584 FIBFocus@608 FIBCurr@624 FIBRot@632 FIBAlnX@640 FIBAlnY@648
1-2 f8 FIBStiX@656 FIBStiY@664 FIBShiftX@672 FIBShiftY@680
1-2 u1 SEMApr@440 HighCurrent@441 FIBProb@616
3-9 S20 DetC@410 DetD@430
3-9 f4 Mag@460 PixelSize@464 WD@468 EHT@472 SEMCurr@490 SEMRot@494 ChamVac@498 GunVac@502 SEMShiftX@510 SEMShiftY@514
3-9 f4 SEMStiX@518 SEMStiY@522 SEMAlnX@526 SEMAlnY@530 StageX@534 StageY@538 StageZ@542 StageT@546 StageR@550 StageM@554
3-9 f4 BrightnessA@560 ContrastA@564 BrightnessB@568 ContrastB@572 FIBFocus@604 FIBCurr@620 FIBRot@624 FIBAlnX@628
3-9 f4 FIBAlnY@632 FIBStiX@636 FIBStiY@640 FIBShiftX@644 FIBShiftY@648
3-9 u1 SEMApr@480 HighCurrent@481 FIBProb@608
4-9 f4 ScanRate@112 FramelineRampdownRatio@116 Xmin@120 Xmax@124 Detmin@128 Detmax@132
4-9 u2 Oversampling@108 DecimatingFactor@136
5-9 S30 MachineID@800
5-9 f4 MillingXSize@660 MillingYSize@664 MillingULAng@668 MillingURAng@672 MillingLineTime@676 FIBFOV@680
5-9 f4 MillingPIDTarget@690 MillingPIDTargetSlope@694 MillingPIDP@698 MillingPIDI@702 MillingPIDD@706
5-9 u1 MillingPIDOn@686 MillingPIDMeasured@689
5-9 u2 MillingLinesPerImage@684
5-9 u4 MillingXResolution@652 MillingYResolution@656
5-8 f4 SEMSpecimenI@980
6-9 f4 Temperature@850 FaradayCupI@854 FIBSpecimenI@858 BeamDump1I@862 MillingYVoltage@870 FocusIndex@874
6-9 u4 FIBSliceNum@878
6-8 f4 SEMSpecimenICurrent@866
8-9 f4 BeamDump2I@882 MillingI@886
9-9 S25 SampleID@155
9-9 f4 SEMSpecimenI@866
9-9 i4 FirstX@70 FirstY@74
9-9 u1 Restart@68 StageMove@69
"""
SCALING_OFFSET = 36


class HeaderField(NamedTuple):
    """Where a field stands, and its numpy type."""

    offset: int
    dtype: np.dtype[np.generic]


@cache
def fields_of(version: int) -> Mapping[str, HeaderField]:
    """Return the fields of a version by name; the scaling stands apart, since its shape depends on other fields.

    Examples
    --------
    >>> fields_of(2)["PixelSize"], fields_of(9)["PixelSize"]
    (HeaderField(offset=416, dtype=dtype('>f8')), HeaderField(offset=464, dtype=dtype('>f4')))
    """
    found: dict[str, HeaderField] = {}
    for line in _PLACES.split("\n"):
        versions, _, rest = line.partition(" ")
        first, _, last = versions.partition("-")
        if not (line and int(first) <= version <= int(last)):
            continue
        kind, *names = rest.split()
        for entry in names:
            name, _, offset = entry.partition("@")
            found[name] = HeaderField(int(offset), np.dtype(f">{kind}"))
    return dict(sorted(found.items(), key=lambda item: item[1].offset))


def scaling_shape(version: int, channels: int) -> tuple[int, int]:
    """Return rows (channels; detectors A and B from version 7 on) and columns of the scaling.

    >>> scaling_shape(3, 1), scaling_shape(8, 1)
    ((1, 4), (2, 4))
    """
    return (2 if version >= 7 else channels, 4)


def scaling_dtype(version: int) -> np.dtype[np.float32 | np.float64]:
    """Return the type of the values of the scaling."""
    return np.dtype(">f8") if version == 1 else np.dtype(">f4")
