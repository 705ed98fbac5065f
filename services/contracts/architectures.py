"""Hyper-parameters from which networks are built, and what must be known of each to feed it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, FiniteFloat, Tag, model_validator

from services.contracts.values import Value

_Rate = Annotated[FiniteFloat, Field(ge=1, le=4)]
_Dilation = Annotated[int, Field(ge=1, le=64)]


class Architecture(Value):
    """What all networks have in common.

    Attributes
    ----------
    dimensions
        2: planes in, planes out. 3: blocks (z, y, x) in, blocks out.
    input_planes
        Planes that a two-dimensional network sees of which it labels the middle one: 1, or an odd number of
        neighbours in z and the plane itself as channels (2.5-D).
    """

    dimensions: Literal[2, 3] = 2
    input_planes: Annotated[int, Field(ge=1, le=15)] = 1

    @model_validator(mode="after")
    def _planes_have_a_middle(self) -> Self:
        if self.input_planes % 2 == 0:
            raise ValueError(f"input_planes is odd, so that one plane is in the middle; got {self.input_planes}")
        if self.dimensions == 3 and self.input_planes > 1:
            raise ValueError("a network of 3 dimensions sees its neighbours anyway: input_planes is 1")
        return self

    @property
    def neighbours(self) -> int:
        """Planes that a two-dimensional network sees on each side of the one it labels."""
        return self.input_planes // 2

    @property
    def takes_single_planes(self) -> bool:
        """Whether a plane can be labelled without any other."""
        return self.dimensions == 2 and self.input_planes == 1

    @property
    def tiles_exactly(self) -> bool:
        """Whether an output depends on inputs within `context_px` alone, so that tiles give the whole answer."""
        return True


class TUNetArchitecture(Architecture):
    """Hyper-parameters from which DLSIA builds a TUNet.

    Attributes
    ----------
    up_kernel_px
        Edge of the up-convolutions' kernels. None: that of pooling, as in today's DLSIA. 3 (with pooling 2): stride
        2, padding 1 and output padding 1, as in the version that the manuscript used.
    """

    family: Literal["dlsia.TUNet"] = "dlsia.TUNet"
    depth: Annotated[int, Field(ge=2, le=7)]
    base_channels: Annotated[int, Field(ge=1, le=256)]
    growth_rate: _Rate = 2.0
    hidden_rate: _Rate = 1.0
    conv_kernel_px: Literal[3, 5, 7] = 3
    pooling: Annotated[int, Field(ge=2, le=3)] = 2
    normalization: Literal["batch", "none"] = "batch"
    up_kernel_px: Literal[3] | None = None

    @model_validator(mode="after")
    def _up_convolution_undoes_the_pooling(self) -> Self:
        if self.up_kernel_px is not None and self.pooling != 2:
            raise ValueError("an up-convolution of 3 px with output padding doubles: pooling must be 2")
        return self

    @property
    def shape_multiple_px(self) -> int:
        """Rows and columns (and planes, in 3 dimensions) of an input must be a multiple of this.

        >>> TUNetArchitecture(depth=4, base_channels=8).shape_multiple_px
        8
        """
        return int(self.pooling ** (self.depth - 1))

    @property
    def context_px(self) -> int:
        """How far away an input pixel may lie and still change an output, at most.

        A level of stride s holds two convolutions on the way down and two on the way up, each reaching
        s * (kernel // 2); pooling and up-sampling reach one cell of the coarser level.

        >>> TUNetArchitecture(depth=4, base_channels=8).context_px
        58
        """
        reach = self.conv_kernel_px // 2
        strides = [self.pooling**level for level in range(self.depth)]
        convolutions = sum(4 * reach * stride for stride in strides[:-1]) + 2 * reach * strides[-1]
        return int(convolutions + sum(stride * (self.pooling - 1) * 2 for stride in strides[:-1]))


class MixedScaleDenseArchitecture(Architecture):
    """Hyper-parameters from which DLSIA builds a MixedScaleDenseNetwork.

    Attributes
    ----------
    layers, layer_width
        Layers, and dilated convolutions in each.
    max_dilation
        Dilations go 1, 2, ... up to this and start again; not given with `dilations`.
    dilations
        Of the layers, repeated until there are enough; one convolution per layer.
    """

    family: Literal["dlsia.MixedScaleDenseNetwork"]
    layers: Annotated[int, Field(ge=1, le=200)]
    layer_width: Annotated[int, Field(ge=1, le=16)] = 1
    max_dilation: _Dilation | None = None
    dilations: tuple[_Dilation, ...] | None = None
    conv_kernel_px: Literal[3, 5] = 3
    normalization: Literal["batch", "none"] = "batch"

    @model_validator(mode="after")
    def _dilations_are_given_once(self) -> Self:
        if (self.max_dilation is None) == (not self.dilations):
            raise ValueError("give max_dilation, or a list of dilations, and not both")
        if self.dilations and self.layer_width > 1:
            raise ValueError("a list of dilations is for layers of width 1")
        return self

    @property
    def layer_dilations(self) -> tuple[tuple[int, ...], ...]:
        """Dilations of each layer's convolutions.

        >>> MixedScaleDenseArchitecture(
        ...     family="dlsia.MixedScaleDenseNetwork", layers=3, layer_width=2, max_dilation=4
        ... ).layer_dilations
        ((1, 2), (3, 4), (1, 2))
        """
        if self.dilations:
            return tuple((self.dilations[layer % len(self.dilations)],) for layer in range(self.layers))
        most, width = self.max_dilation or 1, self.layer_width
        return tuple(tuple((layer * width + j) % most + 1 for j in range(width)) for layer in range(self.layers))

    @property
    def shape_multiple_px(self) -> int:
        """Any shape is taken."""
        return 1

    @property
    def context_px(self) -> int:
        """How far away an input pixel may lie and still change an output: every layer adds its widest dilation."""
        return sum(max(dilations) for dilations in self.layer_dilations) * (self.conv_kernel_px // 2)


# Reach of smp.Unet, rounded up to the coarsest stride: gradients of an output vanish past 298, 530 and about 292 px.
_UNET_CONTEXT_PX = {"resnet18": 320, "resnet34": 544, "resnet50": 320}


class SmpArchitecture(Architecture):
    """A network of segmentation-models-pytorch with fresh weights.

    Attributes
    ----------
    decoder
        `Unet`, or `FPN`, whose group normalisation makes every output depend on the whole input.
    """

    family: Literal["smp"]
    decoder: Literal["Unet", "FPN"] = "Unet"
    encoder: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"

    @model_validator(mode="after")
    def _it_is_flat(self) -> Self:
        if self.dimensions == 3:
            raise ValueError("segmentation-models-pytorch has networks of 2 dimensions alone")
        return self

    @property
    def shape_multiple_px(self) -> int:
        """The encoders halve five times."""
        return 32

    @property
    def context_px(self) -> int:
        """How far away an input pixel may lie and still change an output; for `FPN`, how far that matters."""
        return _UNET_CONTEXT_PX[self.encoder]

    @property
    def tiles_exactly(self) -> bool:
        """Not with group normalisation, which sees the whole window."""
        return self.decoder == "Unet"


def _family(value: Any) -> str:  # noqa: ANN401 - a mapping that is being read, or an architecture
    if isinstance(value, dict):
        return str(value.get("family", "dlsia.TUNet"))
    return str(getattr(value, "family", ""))


AnyArchitecture = Annotated[
    Annotated[TUNetArchitecture, Tag("dlsia.TUNet")]
    | Annotated[MixedScaleDenseArchitecture, Tag("dlsia.MixedScaleDenseNetwork")]
    | Annotated[SmpArchitecture, Tag("smp")],
    Discriminator(_family),
]
"""An architecture by its `family`, which is a TUNet where none is given."""
