"""Writes a published network as a detector: ONNX for OpenCV, and what must be known of it.

    python -m services.trainer.onnx MODEL_FOLDER --channel nucleus --out services/extract/networks/hela-40nm

Needs what the `train` extra installs.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from services.contracts.detector import DetectorCard
from services.contracts.keys import sha256
from services.contracts.model_card import FixedNormalisation, ModelCard
from services.runtime.segmenter.cards import WEIGHTS, read_card
from services.trainer.networks import folded_network

LARGEST_DIFFERENCE = 1e-3
TRIAL_PX = (96, 160)


class NoDetectorError(ValueError):
    """A network cannot be a detector, or OpenCV computes something else than torch."""


def export(model: Path, channel: str, out: Path) -> DetectorCard:
    """Write `OUT.onnx` and `OUT.json` of a published network.

    Parameters
    ----------
    model
        Its folder.
    channel
        Name of the class that is the nucleus.
    out
        The files' path without their endings.

    Raises
    ------
    NoDetectorError
        If the network sees neighbours, is normalised by an acquisition's first slices, has no such class, or gives
        other logits in OpenCV.
    """
    card = read_card(model)
    normalisation, number = _fit(card, channel)
    network = folded_network(card.architecture, len(card.classes), load_file(model / WEIGHTS))
    image = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, *_multiples(card))).astype(np.float32))
    sizes = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    with warnings.catch_warnings():
        # torch still asks itself for tree leaves by their old name.
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        program = torch.onnx.export(
            network, (image,), dynamo=True, dynamic_shapes=(sizes,), external_data=False, verbose=False
        )
    assert program is not None
    out.parent.mkdir(parents=True, exist_ok=True)
    content = _bare(program.model_proto)
    _require_same(network, content, card)
    written = DetectorCard(
        made_from=card.address,
        voxel_size_nm=card.voxel_size_nm,
        mean=normalisation.mean,
        sd=normalisation.sd,
        nucleus_channel=number,
        shape_multiple_px=card.architecture.shape_multiple_px,
        onnx_sha256=sha256(content),
    )
    out.with_suffix(".onnx").write_bytes(content)
    out.with_suffix(".json").write_text(written.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return written


def _bare(proto: Any) -> bytes:  # noqa: ANN401 - onnx is not installed where this is checked
    """Return a model without what the export says of the machine and the lines it came from."""
    proto.ClearField("metadata_props")
    proto.ClearField("doc_string")
    proto.graph.ClearField("doc_string")
    proto.graph.ClearField("metadata_props")
    for part in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return bytes(proto.SerializeToString(deterministic=True))


def _fit(card: ModelCard, channel: str) -> tuple[FixedNormalisation, int]:
    names = [each.name for each in card.classes]
    if channel not in names:
        raise NoDetectorError(f"{card.address} has no class {channel!r}, but {', '.join(names)}")
    if card.architecture.dimensions != 2 or card.architecture.input_planes != 1:
        raise NoDetectorError(f"{card.address} sees neighbouring slices: a detector sees one")
    if not isinstance(card.normalisation, FixedNormalisation):
        raise NoDetectorError(f"{card.address} is normalised by the first slices of an acquisition: say constants")
    return card.normalisation, names.index(channel)


def _multiples(card: ModelCard) -> tuple[int, int]:
    multiple = card.architecture.shape_multiple_px
    height, width = (-(-size // multiple) * multiple for size in TRIAL_PX)
    return max(height, 2 * multiple), max(width, 2 * multiple)


def _require_same(network: torch.nn.Module, content: bytes, card: ModelCard) -> None:
    """Compare OpenCV with torch on a size that the export has not seen."""
    height, width = (2 * size for size in _multiples(card))
    image = np.random.default_rng(2).normal(size=(1, 1, height, width)).astype(np.float32)
    reader = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    reader.setInput(image)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    difference = float(np.abs(np.asarray(reader.forward()) - expected).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise NoDetectorError(f"OpenCV's logits of {card.address} differ by {difference:.2g} from torch's")


def main(arguments: Sequence[str] | None = None) -> None:
    """Export a detector."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="folder of a published network")
    parser.add_argument("--channel", default="nucleus", help="class that is the nucleus")
    parser.add_argument("--out", type=Path, required=True, help="path of the files, without ending")
    given = parser.parse_args(arguments)
    sys.stdout.write(export(given.model, given.channel, given.out).model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    main()
