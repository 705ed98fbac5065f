"""TIFF files with what instruments write into their private tags."""

from __future__ import annotations

from typing import Any

from tests.support.tiff_corpus import plane, written

SMARTSEM = (
    "\r\n0\r\n0\r\nAP_PIXEL_SIZE\r\nPixel Size = {pixel}\r\nAP_STAGE_AT_T\r\nStage at T = 54.0 °\r\n"
    "DP_TILT_CORRN\r\nTilt Corrn. = {corrected}\r\nDP_DETECTOR_CHANNEL\r\nSignal A = InLens\r\n"
    "SV_SERIAL_NUMBER\r\nSerial No. = Crossbeam-12-34\r\nAP_ACTUALKV\r\nEHT = 1.50 kV\r\n"
)
THERMO = (
    "[System]\r\nSystemType=Helios\r\nDnumber=77\r\n[Scan]\r\nDwelltime=1e-05\r\nPixelWidth=4e-09\r\n"
    "PixelHeight=4e-09\r\n[EBeam]\r\nTiltCorrectionIsOn={corrected}\r\n[Stage]\r\nStageT={tilt}\r\n"
    "[Image]\r\nResolutionX=23\r\nResolutionY={rows}\r\n"
)
ATLAS = (
    '<?xml version="1.0"?><Fibics version="1.0"><Application><Version>5</Version></Application>'
    "<Image><Width>200</Width><Height>100</Height><Machine>Crossbeam 550</Machine><Detector>ESB</Detector></Image>"
    '<Scan><Dwell units="ns">5000</Dwell><FOV_X units="um">2.0</FOV_X><FOV_Y units="um">1.0</FOV_Y></Scan></Fibics>'
)


def tagged(tag: int, text: str, **options: Any) -> bytes:
    """Return a file with a text in a private tag."""
    payload = text.encode("latin-1")
    return written([plane()], extratags=[(tag, "s", len(payload) + 1, payload, True)], **options)
