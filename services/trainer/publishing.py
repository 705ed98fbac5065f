"""Publishes a trained network: weights, a card, and an exported archive, under the hash of weights and card."""

from __future__ import annotations

import hashlib
import shutil
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from services.contracts.architectures import AnyArchitecture
from services.contracts.model_card import ModelCard
from services.runtime.segmenter.cards import ARCHIVE, CARD, WEIGHTS

MAX_EDGE_PX = 8192
# Relative to the largest logit: folding and another order of sums round differently.
LARGEST_DIFFERENCE = 1e-4


class ExportDiffersError(ValueError):
    """An exported network does not compute what the trained one does; it is not published."""


def exported_archive(network: nn.Module, architecture: AnyArchitecture) -> bytes:
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
    names = ("planes", "rows", "columns")[-architecture.dimensions :]
    edges = {2 + axis: _edge(name, multiple) for axis, name in enumerate(names)}
    example = torch.zeros(
        2, architecture.input_planes, *(4 * multiple + 2 * multiple * axis for axis in range(len(names)))
    )
    program = torch.export.export(network, (example,), dynamic_shapes=({0: Dim("crops", min=1, max=256), **edges},))
    for node in program.graph.nodes:
        for key in ("stack_trace", "source_fn_stack", "nn_module_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)
    # Torch takes them from a set: their order, and so the archive's hash, would be another one in every process.
    ranges = sorted(program.range_constraints.items(), key=lambda found: str(found[0]))
    program.range_constraints.clear()
    program.range_constraints.update(ranges)
    buffer = BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def refuse_different(network: nn.Module, archive: bytes, architecture: AnyArchitecture) -> None:
    """Compare an archive with the network it came from, on noise of two shapes that the export did not see.

    Raises
    ------
    ExportDiffersError
        If a logit differs by more than rounding explains.
    """
    generator = torch.Generator().manual_seed(0)
    multiple = max(8, architecture.shape_multiple_px)
    for edges in ((2, 3, 5), (3, 2, 2)):
        shape = [multiple * edge for edge in edges[-architecture.dimensions :]]
        images = torch.randn(1, architecture.input_planes, *shape, generator=generator)
        difference, size = largest_difference(network, archive, images)
        if not difference <= LARGEST_DIFFERENCE * max(1.0, size):
            raise ExportDiffersError(
                f"the export differs from the network by {difference:g} in logits of up to {size:g}: not published"
            )


def largest_difference(network: nn.Module, archive: bytes, images: Tensor) -> tuple[float, float]:
    """Return the largest difference between the logits of a network and of its archive, and the largest logit."""
    loaded = torch.export.load(BytesIO(archive)).module()
    with torch.inference_mode():
        own = network(images)
        return float((own - loaded(images)).abs().max()), float(own.abs().max())


def _edge(name: str, multiple: int) -> Dim:
    size = Dim(name, min=2, max=MAX_EDGE_PX // multiple)
    return multiple * size if multiple > 1 else size


def publish(out: Path, card: ModelCard, weights: bytes, archive: bytes) -> Path:
    """Write a model into its folder, whole or not at all; then other versions of the same name are removed.

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
    if folder.is_dir():
        # The same card, and so the same contents, unless they were damaged.
        for path in partial.iterdir():
            path.replace(folder / path.name)
        partial.rmdir()
    else:
        partial.rename(folder)
    for other in out.glob(f"{card.name}-{'[0-9a-f]' * 12}"):
        if other != folder:
            shutil.rmtree(other)
    return folder
