"""Networks from the hyper-parameters of a card, with DLSIA's topology."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from dlsia.core.networks.tunet import TUNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from services.contracts.model_card import TUNetArchitecture


class StatelessTUNet(TUNet):  # type: ignore[misc]  # dlsia has no types
    """DLSIA's TUNet with a forward pass that keeps nothing on the module.

    Layers, weights and results are DLSIA's. Its own forward pass stores the encoder's activations on the
    module, so that threads mix them up, memory stays taken, and an export has side effects.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, outputs, y, x) of images (n, 1, y, x)."""
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


def build_network(architecture: TUNetArchitecture, outputs: int, seed: int) -> nn.Module:
    """Build a DLSIA TUNet with fresh weights.

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
        From (n, 1, y, x) to logits (n, outputs, y, x); y and x are multiples of
        `architecture.shape_multiple_px`. DLSIA asks for a shape only to size output paddings, which are
        zero for every such multiple.
    """
    edge_px = 2 * architecture.shape_multiple_px
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StatelessTUNet(
            image_shape=(edge_px, edge_px),
            in_channels=1,
            out_channels=outputs,
            depth=architecture.depth,
            base_channels=architecture.base_channels,
            growth_rate=architecture.growth_rate,
            hidden_rate=architecture.hidden_rate,
            conv_kernel_size=architecture.conv_kernel_px,
            maxpool_kernel_size=architecture.pooling,
            normalization=nn.BatchNorm2d if architecture.normalization == "batch" else None,
        )
        if architecture.normalization == "none":
            _keep_variance(network)
    assert isinstance(network, nn.Module)
    return network


def _keep_variance(network: nn.Module) -> None:
    """Draw weights so that activations neither fade nor grow from layer to layer (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def folded_network(architecture: TUNetArchitecture, outputs: int, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build a network for inference: batch normalisations are folded into the convolutions before them.

    In evaluation mode both are affine, so the outputs are equal but for rounding. DLSIA shares one ReLU
    object among all layers: layers are taken by position, because `children()` would list it once only.

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
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Sequential):
            setattr(network, name, _folded(list(child)))
    return network


def _folded(layers: list[nn.Module]) -> nn.Sequential:
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            convolution = folded.pop()
            assert isinstance(convolution, nn.Conv2d)
            folded.append(fuse_conv_bn_eval(convolution, layer))
        else:
            folded.append(layer)
    return nn.Sequential(*folded)
