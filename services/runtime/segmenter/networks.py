"""The networks of a model set, loaded: windows in, fused label planes out.

What runs in the process and what runs in a model server is this one module, so that both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from services.contracts.model_card import FusionRules, ModelSet
from services.runtime.segmenter.archives import load_network
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.cpu_kernels import fuse_for_cpu
from services.runtime.segmenter.fusion import Fusion
from services.runtime.segmenter.port import NumericProfile, Segmented
from services.runtime.segmenter.windows import Window, padded

COMMON_SHAPE_YX = (432, 432)
# On a GPU windows are filled up to few distinct shapes, so that batches fill and algorithms are chosen once.
BUCKET_PX = 64


class Networks:
    """Published networks on one device under one numeric profile.

    Parameters
    ----------
    models_dir
        Folder of published models.
    fusion
        Which class comes from which network; by default what the folder asks for (`read_model_set`).
    profile
        `exact` (fp32) or `fast` (bf16).
    device
        `cpu`, or a torch device such as `cuda:0`.

    Raises
    ------
    ModelSetError
        If a network is absent, altered, or exported for another torch.
    """

    def __init__(
        self,
        models_dir: Path,
        fusion: FusionRules | None = None,
        profile: NumericProfile = NumericProfile.EXACT,
        device: str = "cpu",
    ) -> None:
        self.profile = profile
        self.model_set: ModelSet = read_model_set(models_dir, fusion)
        self.device = torch.device(device)
        if self.device.type == "cuda":
            _decide_alike_every_time()
        self._dtype = torch.bfloat16 if profile is NumericProfile.FAST else torch.float32
        self._networks = {card.name: self._placed(load_network(models_dir, card)) for card in self.model_set.cards}
        self._fuse = Fusion(self.model_set)
        self._coarsest_px = max(card.architecture.shape_multiple_px for card in self.model_set.cards)
        self._multiple_px = self._coarsest_px if self.device.type == "cpu" else max(BUCKET_PX, self._coarsest_px)

    def padded_shape(self, window: Window) -> tuple[int, int]:
        """Return the rows and columns that the networks see of a window; one batch shares them."""
        rows, columns = (
            size + max(-size % self._multiple_px, 2 * self._coarsest_px - size) for size in window.grey_yx.shape
        )
        return rows, columns

    def segment(self, windows: Sequence[Window], batch_windows: int = 1) -> list[Segmented]:
        """Segment windows of one padded shape together: one upload, one normalisation, every network.

        Parameters
        ----------
        windows
            At most `batch_windows` of them.
        batch_windows
            What the batch is filled up to, so that the networks see one batch size whatever arrives.

        Raises
        ------
        torch.OutOfMemoryError
            If the device has no room for the batch.
        """
        with torch.inference_mode():
            images = [self._image(window) for window in windows]
            batch = torch.stack(images + images[:1] * (batch_windows - len(images)))
            batch = batch.to(memory_format=torch.channels_last)
            # The network's own outputs are held until all are fused: one batch, every network.
            outputs = {name: network(batch) for name, network in self._networks.items()}
            fused = [self._fused(outputs, position, window) for position, window in enumerate(windows)]
            return [Segmented(classes.cpu().numpy(), confidence.cpu().numpy()) for classes, confidence in fused]

    def _image(self, window: Window) -> Tensor:
        """Upload a window and normalise it there; (channel, y, x)."""
        grey = torch.from_numpy(padded(window.grey_yx, self._coarsest_px, self._multiple_px)).to(self.device)
        offset, scale = window.normalisation.offset, window.normalisation.scale
        return ((grey.to(torch.float32) - offset) / scale).to(self._dtype)[None]

    def _fused(self, outputs: dict[str, Tensor], position: int, window: Window) -> tuple[Tensor, Tensor]:
        rows, columns = window.grey_yx.shape
        return self._fuse({name: output[position].float()[:, :rows, :columns] for name, output in outputs.items()})

    def _placed(self, network: torch.fx.GraphModule) -> torch.fx.GraphModule:
        # Convolutions of few channels are 1.5 times faster with channels last; values do not change.
        for parameter in network.parameters():
            layout = torch.channels_last if parameter.ndim == 4 else torch.preserve_format
            parameter.data = parameter.data.to(self.device, self._dtype).contiguous(memory_format=layout)
        exact_on_cpu = self.device.type == "cpu" and self.profile is NumericProfile.EXACT
        return fuse_for_cpu(network, COMMON_SHAPE_YX) if exact_on_cpu else network


def _decide_alike_every_time() -> None:
    """Have the same kernels chosen for the same shapes, and fp32 mean fp32."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
