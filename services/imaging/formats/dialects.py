"""What instruments write into private tags of TIFF files, each in a language of its own.

None of these is documented by its maker in public; what stands here was told from files and from readers of others
(tifffile's readers of the same tags agree: a test compares). Text that is not understood is passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from itertools import pairwise

_NUMBER = r"[-+]?(?:\d{1,20}\.?\d{0,20}|\.\d{1,20})(?:[eE][-+]?\d{1,3})?"
_VALUE = re.compile(rf"^\s*({_NUMBER})\s*(\S*)\s*$")
_SMALLEST_NM, _LARGEST_NM = 0.05, 10_000.0
_PLAIN_LARGEST_NM = 1000.0


@dataclass(frozen=True, slots=True)
class Said:
    """What one dialect says; see `SliceMetadata`. `image_rows`: rows of the image proper, None if unknown."""

    dialect: str
    pixel_y_nm: float | None = None
    pixel_x_nm: float | None = None
    tilt_deg: float | None = None
    tilt_corrected: bool | None = None
    image_rows: int | None = None
    machine: str = ""
    detectors: tuple[str, ...] = ()
    telemetry: Mapping[str, int | float | str | bool] = field(default_factory=dict)


def length_nm(text: str) -> float | None:
    r"""Return a length that is written with its unit, or None.

    The sign for micro is often lost on its way between encodings: one odd letter, or several, before `m` stand for it.

    >>> [length_nm(text) for text in ("5.000 nm", "1.2 \xb5m", "1.2 \xc2\xb5m", "0.5 ?m", "800 pm", "3", "4 kV")]
    [5.0, 1200.0, 1200.0, 500.0, 0.8, None, None]
    """
    found = _VALUE.match(text)
    if not found or not found[2].endswith("m"):
        return None
    prefix = found[2][:-1]
    factors = {"p": 1e-3, "n": 1.0, "u": 1e3, "m": 1e6, "": 1e9, "c": 1e7, "k": None}
    odd = (bool(prefix) and not prefix.isascii()) or prefix == "?"
    factor = 1e3 if odd else factors.get(prefix)
    return None if factor is None else round(float(found[1]) * factor, 9)


def read_smartsem(text: str) -> Said:
    r"""Read Zeiss SmartSEM's tag 34118: a line with a key such as `AP_PIXEL_SIZE`, then one with `Name = value unit`.

    >>> read_smartsem("AP_PIXEL_SIZE\r\nPixel Size = 5.000 nm\r\nDP_TILT_CORRN\r\nTilt Corrn. = Off\r\n").pixel_x_nm
    5.0
    """
    lines = [line.strip() for line in text.replace("\0", "\n").splitlines()]
    said = {
        key: line.partition("=")[2].strip()
        for key, line in pairwise(lines)
        if re.fullmatch(r"[A-Z]{2}_[A-Z0-9_]{1,60}", key) and "=" in line
    }
    named = {line.partition("=")[0].strip().lower(): line.partition("=")[2].strip() for line in lines if "=" in line}
    pixel = _sensible(length_nm(said.get("AP_PIXEL_SIZE") or named.get("image pixel size") or ""))
    tilt = _leading_number(said.get("AP_STAGE_AT_T") or named.get("stage at t") or "")
    corrected = _switch(named.get("tilt corrn.") or named.get("tilt correction") or "")
    detector = said.get("DP_DETECTOR_CHANNEL") or named.get("signal a") or ""
    return Said(
        "zeiss_smartsem",
        pixel,
        pixel,
        tilt,
        corrected,
        machine=said.get("SV_SERIAL_NUMBER") or named.get("serial no.") or "",
        detectors=(detector,) if detector else (),
        telemetry=_kept(said, ("AP_ACTUALKV", "AP_WD", "AP_MAG", "AP_SCANRATE", "AP_STAGE_AT_Z", "AP_DATE", "AP_TIME")),
    )


def read_thermo(text: str) -> Said:
    r"""Read Thermo's (FEI's) tags 34680 and 34682, sections of `key=value`, or 34683, XML; lengths are in metres.

    >>> read_thermo("[Scan]\r\nPixelWidth=7.7e-09\r\nPixelHeight=7.7e-09\r\n[Image]\r\nResolutionY=1024").image_rows
    1024
    """
    if text.lstrip("\ufeff\xef\xbb\xbf \r\n\t").startswith("<"):
        return _thermo_xml(text)
    values, section = dict[tuple[str, str], str](), ""
    for line in text.replace("\0", "").splitlines():
        if line.startswith("[") and line.rstrip().endswith("]"):
            section = line.strip()[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            values.setdefault((section, key.strip()), value.strip())

    def metres(key: str) -> float | None:
        found = _leading_number(values.get(("Scan", key)) or values.get(("EScan", key)) or "")
        return _sensible(None if found is None else found * 1e9)

    radians = _leading_number(values.get(("Stage", "StageT"), ""))
    rows = _leading_number(values.get(("Image", "ResolutionY"), ""))
    machine = " ".join(filter(None, (values.get(("System", "SystemType")), values.get(("System", "Dnumber")))))
    detector = values.get(("Detectors", "Name"), "")
    facts = {
        name: found
        for name, place in {
            "dwell_s": ("Scan", "Dwelltime"),
            "accelerating_v": ("Beam", "HV"),
            "working_distance_m": ("Stage", "WorkingDistance"),
            "stage_x_m": ("Stage", "StageX"),
            "stage_y_m": ("Stage", "StageY"),
            "stage_z_m": ("Stage", "StageZ"),
        }.items()
        if (found := _leading_number(values.get(place, ""))) is not None
    }
    return Said(
        "thermo_fei",
        metres("PixelHeight"),
        metres("PixelWidth"),
        None if radians is None else round(math.degrees(radians), 3),
        _switch(values.get(("EBeam", "TiltCorrectionIsOn"), "")),
        None if rows is None else int(min(rows, 2**31)),
        machine,
        (detector,) if detector else (),
        facts,
    )


def _thermo_xml(text: str) -> Said:
    def metres(axis: str) -> float | None:
        found = _xml_value(_xml_section(text, "PixelSize"), axis)
        number = _leading_number(found)
        return _sensible(None if number is None else number * 1e9)

    machine = _xml_value(_xml_section(text, "Instrument"), "InstrumentID")
    radians = _leading_number(_xml_value(_xml_section(_xml_section(text, "StagePosition"), "Tilt"), "Alpha"))
    return Said(
        "thermo_fei",
        metres("Y"),
        metres("X"),
        None if radians is None else round(math.degrees(radians), 3),
        _switch(_xml_value(_xml_section(text, "Optics"), "SampleTiltCorrectionOn")),
        machine=machine,
    )


def read_atlas(text: str) -> Said:
    """Read Zeiss Atlas's tag 51023, XML of its maker Fibics: a pixel is the field of view by the image's width.

    >>> read_atlas("<Fibics><Image><Width>1000</Width></Image><Scan><FOV_X units='um'>10</FOV_X></Scan></Fibics>")
    ... # doctest: +ELLIPSIS
    Said(dialect='zeiss_atlas', pixel_y_nm=10.0, pixel_x_nm=10.0, ...
    """
    image, scan = _xml_section(text, "Image"), _xml_section(text, "Scan")
    edges = tuple(
        _quotient(_leading_number(_xml_value(scan, view)), _leading_number(_xml_value(image, size)))
        for view, size in (("FOV_Y", "Height"), ("FOV_X", "Width"))
    )
    pixel_x = _sensible(edges[1])
    pixel_y = _sensible(edges[0]) or pixel_x
    tilt = _leading_number(_xml_value(_xml_section(text, "Stage"), "Tilt"))
    corrected = _switch(_xml_value(scan, "TiltCorrection") or _xml_value(scan, "TiltCorr"))
    detector = _xml_value(image, "Detector")
    dwell = _leading_number(_xml_value(scan, "Dwell"))
    return Said(
        "zeiss_atlas",
        pixel_y,
        pixel_x,
        tilt,
        corrected,
        machine=_xml_value(image, "Machine"),
        detectors=(detector,) if detector else (),
        telemetry={} if dwell is None else {"dwell_ns": dwell},
    )


def read_imagej(description: str, per_y: float | None, per_x: float | None) -> Said:
    r"""Read what Fiji writes: pixels per unit in the resolution, the unit in the description.

    >>> read_imagej("ImageJ=1.53\nunit=nm\n", 0.25, 0.25).pixel_x_nm
    4.0
    """
    found = re.search(r"^unit=(.{1,20})$", description, re.MULTILINE)
    unit = (found[1] if found else "").strip().replace("\\u00B5", "u")
    one_nm = length_nm("1 " + {"micron": "um", "microns": "um"}.get(unit, unit))
    if one_nm is None:
        return Said("imagej")
    edge_y, edge_x = (None if not per else _sensible(one_nm / per) for per in (per_y, per_x))
    return Said("imagej", edge_y, edge_x)


def read_ome(description: str) -> Said | None:
    """Read what the description of an OME-TIFF says of the size of a pixel; None if it says nothing of it.

    A size without a unit is in micrometres, as the schema of OME has it.

    >>> read_ome('<OME><Image><Pixels PhysicalSizeX="0.004" PhysicalSizeY="8" PhysicalSizeYUnit="nm"/></Image></OME>')
    ... # doctest: +ELLIPSIS
    Said(dialect='ome_tiff', pixel_y_nm=8.0, pixel_x_nm=4.0, ...
    """
    pixels = re.search(r"<(?:\w{1,20}:)?Pixels\s([^<>]*)>", description) if "OME" in description else None
    if pixels is None:
        return None
    said = {
        name: unescape(value) for name, value in re.findall(r'(PhysicalSize[XY](?:Unit)?)="([^"]{0,40})"', pixels[1])
    }
    edge_y, edge_x = (
        _sensible(length_nm(f"{said.get(f'PhysicalSize{axis}', '')} {said.get(f'PhysicalSize{axis}Unit', 'um')}"))
        for axis in "YX"
    )
    return None if edge_y is None or edge_x is None else Said("ome_tiff", edge_y, edge_x)


def read_resolution(per_y: float | None, per_x: float | None, unit: int) -> Said:
    """Read the resolution that TIFF itself has, pixels per inch (2) or centimetre (3).

    Most writers put there what a screen or a printer would need; only what an electron microscope can have is taken.

    >>> read_resolution(2.5e6, 2.5e6, 3).pixel_x_nm, read_resolution(96.0, 96.0, 2).pixel_x_nm
    (4.0, None)
    """
    unit_nm = {2: 2.54e7, 3: 1e7}.get(unit)
    edge_y, edge_x = (unit_nm / per if per and unit_nm else None for per in (per_y, per_x))
    if any(edge is None or not _SMALLEST_NM <= edge <= _PLAIN_LARGEST_NM for edge in (edge_y, edge_x)):
        return Said("tiff")
    return Said("tiff", edge_y, edge_x)


def _sensible(nm: float | None) -> float | None:
    """Return an edge of a pixel that a microscope can have."""
    return None if nm is None or not _SMALLEST_NM <= nm <= _LARGEST_NM else round(nm, 9)


def _leading_number(text: str) -> float | None:
    found = re.match(rf"\s*({_NUMBER})", text)
    number = float(found[1]) if found else math.nan
    return number if math.isfinite(number) else None


def _quotient(field_um: float | None, pixels: float | None) -> float | None:
    return None if field_um is None or not pixels else field_um * 1000.0 / pixels


def _switch(text: str) -> bool | None:
    return {
        "on": True,
        "yes": True,
        "true": True,
        "1": True,
        "off": False,
        "no": False,
        "false": False,
        "0": False,
    }.get(text.strip().lower())


def _kept(said: Mapping[str, str], keys: tuple[str, ...]) -> dict[str, str]:
    return {key.lower(): said[key] for key in keys if said.get(key)}


def _xml_section(text: str, name: str) -> str:
    """Return what stands within the first element of a name; a parser would also unfold what somebody folded in it."""
    opening = re.search(rf"<{name}(?:\s[^<>]*)?>", text)
    if opening is None:
        return ""
    end = text.find(f"</{name}>", opening.end())
    return text[opening.end() : end if end >= 0 else None]


def _xml_value(section: str, name: str) -> str:
    found = re.search(rf"<{name}(?:\s[^<>]*)?>([^<]{{0,200}})</{name}>", section)
    return found[1].strip() if found else ""
