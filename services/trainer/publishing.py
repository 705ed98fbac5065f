"""Publishes a trained network: weights, a card, and an exported archive, under the hash of weights and card."""

from __future__ import annotations

import hashlib
import shutil
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.export import Dim

from services.contracts.model_card import ModelCard, TUNetArchitecture
from services.runtime.segmenter.cards import ARCHIVE, CARD, WEIGHTS
from services.trainer.training import Weights

MAX_EDGE_PX = 8192


def encoded_weights(weights: Weights) -> bytes:
    """Return weights as safetensors: names, shapes and numbers, no code."""
    return save({name: tensor.detach().contiguous() for name, tensor in sorted(weights.items())})


def exported_archive(network: nn.Module, architecture: TUNetArchitecture) -> bytes:
    """Export a network for the torch in use, for any batch and any fitting shape.

    Parameters
    ----------
    network
        In evaluation mode.
    architecture
        Fixes of what rows and columns must be multiples.

    Returns
    -------
    bytes
        A `torch.export` archive; source lines and paths of this machine are left out.
    """
    multiple = architecture.shape_multiple_px
    most = MAX_EDGE_PX // multiple
    rows, columns = (multiple * Dim(name, min=2, max=most) for name in ("rows", "columns"))
    example = torch.zeros(2, 1, 4 * multiple, 6 * multiple)
    program = torch.export.export(
        network, (example,), dynamic_shapes=({0: Dim("crops", min=1, max=256), 2: rows, 3: columns},)
    )
    for node in program.graph.nodes:
        for key in ("stack_trace", "source_fn_stack", "nn_module_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)
    buffer = BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def largest_difference(network: nn.Module, archive: bytes, images: Tensor) -> float:
    """Return the largest difference between the logits of a network and of its archive."""
    loaded = torch.export.load(BytesIO(archive)).module()
    with torch.inference_mode():
        return float((network(images) - loaded(images)).abs().max())


def publish(out: Path, card: ModelCard, weights: bytes, archive: bytes) -> Path:
    """Write a model into its folder, whole or not at all; other versions of the same name are removed.

    Parameters
    ----------
    out
        Folder of models.
    card
        Holds the hashes of `weights` and `archive`.
    weights, archive
        Contents of the files.

    Returns
    -------
    pathlib.Path
        The model's folder.

    Raises
    ------
    ValueError
        If a hash in the card is not that of the content.
    """
    for content, promised in ((weights, card.weights_sha256), (archive, card.archive_sha256)):
        if hashlib.sha256(content).hexdigest() != promised:
            raise ValueError(f"the card of {card.name} promises other contents")
    partial = out / f".{card.address}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in ((WEIGHTS, weights), (ARCHIVE, archive), (CARD, card.encoded())):
        (partial / name).write_bytes(content)
    folder = out / card.address
    for older in out.glob(f"{card.name}-{'[0-9a-f]' * 12}"):
        shutil.rmtree(older)
    partial.rename(folder)
    return folder
