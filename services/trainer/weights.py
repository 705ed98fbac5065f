"""Weights of a network as bytes: names, shapes and numbers, no code."""

from __future__ import annotations

from safetensors.torch import load, save
from torch import Tensor

Weights = dict[str, Tensor]


def encoded_weights(weights: Weights) -> bytes:
    """Return weights as safetensors, the same bytes for the same numbers."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(weights.items())})


def decoded_weights(content: bytes) -> Weights:
    """Return the weights that `encoded_weights` wrote."""
    return dict(load(content))
