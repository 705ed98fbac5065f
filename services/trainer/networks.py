"""Networks from the hyper-parameters of a card: DLSIA's topologies, and those of segmentation-models-pytorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from dlsia.core.networks.msdnet import MixedScaleDenseNetwork
from dlsia.core.networks.tunet import TUNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from services.contracts.architectures import (
    AnyArchitecture,
    MixedScaleDenseArchitecture,
    SmpArchitecture,
    TUNetArchitecture,
)

Convolutions = (nn.Conv2d, nn.Conv3d)
Normalisations = (nn.BatchNorm2d, nn.BatchNorm3d)


class StatelessTUNet(TUNet):  # type: ignore[misc]  # dlsia has no types
    """DLSIA's TUNet with a forward pass that keeps nothing on the module.

    Layers, weights and results are DLSIA's. Its own forward pass stores the encoder's activations on the
    module, so that threads mix them up, memory stays taken, and an export has side effects.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, outputs, y, x) of images (n, planes, y, x), or (n, outputs, z, y, x) of (n, 1, z, y, x)."""
        skipped = []
        values: Tensor = images
        for level in range(self.depth - 1):
            values = self._modules[self.encoders[level]](values)
            skipped.append(values)
            values = self._modules[self.step_down[level]](values)
        values = self._modules[self.encoders[self.depth - 1]](values)
        for level in reversed(range(self.depth - 1)):
            values = self._modules[self.step_up[level]](values)
            values = self._modules[self.decoders[level]](torch.cat((skipped[level], values), dim=1))
        return values


def build_network(architecture: AnyArchitecture, outputs: int, seed: int) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    architecture
        Hyper-parameters.
    outputs
        Number of classes.
    seed
        Of the weights.

    Returns
    -------
    torch.nn.Module
        From (n, `input_planes`, y, x) to logits (n, outputs, y, x), or in 3 dimensions from (n, 1, z, y, x) to
        (n, outputs, z, y, x); edges are multiples of `architecture.shape_multiple_px`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(architecture, TUNetArchitecture):
            return _tunet(architecture, outputs)
        if isinstance(architecture, MixedScaleDenseArchitecture):
            return _mixed_scale_dense(architecture, outputs)
        return _smp(architecture, outputs)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def folded_network(architecture: AnyArchitecture, outputs: int, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build a network for inference; a TUNet's batch normalisations are folded into the convolutions before them.

    In evaluation mode both are affine, so the outputs are equal but for rounding. DLSIA shares one ReLU
    object among all layers: layers are taken by position, because `children()` would list it once only.
    In other networks a normalisation follows no convolution, or is left to the runtime: they stay as they are.

    Parameters
    ----------
    architecture, outputs
        As in `build_network`.
    weights
        State of the trained network.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.
    """
    network = build_network(architecture, outputs, seed=0)
    network.load_state_dict(dict(weights))
    network.eval()
    if isinstance(architecture, TUNetArchitecture):
        for name, child in list(network.named_children()):
            if isinstance(child, nn.Sequential):
                setattr(network, name, _folded(list(child)))
    return network


def _tunet(architecture: TUNetArchitecture, outputs: int) -> nn.Module:
    """DLSIA asks for a shape only to size output paddings, which are zero for every fitting multiple."""
    flat = architecture.dimensions == 2
    edge_px = 2 * architecture.shape_multiple_px
    norm = nn.BatchNorm2d if flat else nn.BatchNorm3d
    network = StatelessTUNet(
        image_shape=(edge_px,) * architecture.dimensions,
        in_channels=architecture.input_planes,
        out_channels=outputs,
        depth=architecture.depth,
        base_channels=architecture.base_channels,
        growth_rate=architecture.growth_rate,
        hidden_rate=architecture.hidden_rate,
        conv_kernel=nn.Conv2d if flat else nn.Conv3d,
        kernel_down=nn.MaxPool2d if flat else nn.MaxPool3d,
        kernel_up=nn.ConvTranspose2d if flat else nn.ConvTranspose3d,
        conv_kernel_size=architecture.conv_kernel_px,
        maxpool_kernel_size=architecture.pooling,
        normalization=norm if architecture.normalization == "batch" else None,
    )
    if architecture.up_kernel_px is not None:
        for name in network.step_up.values():
            setattr(network, name, _wider_up_convolution(getattr(network, name)))
    if architecture.normalization == "none":
        _keep_variance(network)
    assert isinstance(network, nn.Module)
    return network


def _wider_up_convolution(narrow: nn.ConvTranspose2d | nn.ConvTranspose3d) -> nn.Module:
    """Return an up-convolution that doubles with a kernel of 3, as DLSIA's ancestor had it."""
    return type(narrow)(narrow.in_channels, narrow.out_channels, 3, stride=2, padding=1, output_padding=1)


def _mixed_scale_dense(architecture: MixedScaleDenseArchitecture, outputs: int) -> nn.Module:
    flat = architecture.dimensions == 2
    norm = nn.BatchNorm2d if flat else nn.BatchNorm3d
    # By rows of one layer's convolutions each, as DLSIA wants a topology of its user's own.
    network = MixedScaleDenseNetwork(
        in_channels=architecture.input_planes,
        out_channels=outputs,
        num_layers=None,
        layer_width=None,
        max_dilation=None,
        custom_msdnet=np.array(architecture.layer_dilations).T,
        conv_kernel_size=architecture.conv_kernel_px,
        normalization=norm if architecture.normalization == "batch" else None,
        convolution=nn.Conv2d if flat else nn.Conv3d,
    )
    _with_plain_dilations(network)
    if architecture.normalization == "none":
        _keep_variance(network)
    assert isinstance(network, nn.Module)
    return network


def _with_plain_dilations(network: nn.Module) -> None:
    """Replace NumPy's integers, which an export cannot write down, by Python's."""
    for module in network.modules():
        if isinstance(module, Convolutions):
            module.dilation = tuple(int(size) for size in module.dilation)
            module.padding = tuple(int(size) for size in module.padding)


def _smp(architecture: SmpArchitecture, outputs: int) -> nn.Module:
    # Loaded here: the library takes seconds, and most networks are none of its own.
    import segmentation_models_pytorch  # noqa: PLC0415

    decoders: dict[str, Any] = {"Unet": segmentation_models_pytorch.Unet, "FPN": segmentation_models_pytorch.FPN}
    network = decoders[architecture.decoder](
        encoder_name=architecture.encoder,
        encoder_weights=None,
        in_channels=architecture.input_planes,
        classes=outputs,
    )
    assert isinstance(network, nn.Module)
    return network


def _keep_variance(network: nn.Module) -> None:
    """Draw weights so that activations neither fade nor grow from layer to layer (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, Convolutions):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def _folded(layers: list[nn.Module]) -> nn.Sequential:
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, Normalisations):
            convolution = folded.pop()
            assert isinstance(convolution, Convolutions)
            folded.append(fuse_conv_bn_eval(convolution, layer))
        else:
            folded.append(layer)
    return nn.Sequential(*folded)
