"""Fuses the outputs of several networks into one label plane, on the device that computed them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from services.contracts.classes import LabelClass
from services.contracts.model_card import ModelSet


class Fusion:
    """The fusion rules of a model set, resolved to channels.

    Parameters
    ----------
    model_set
        Cards and rules.

    Examples
    --------
    A pixel is what the last claiming network in the rules says; unclaimed pixels are exterior or
    nucleoplasm, as the background network says.
    """

    def __init__(self, model_set: ModelSet) -> None:
        channels = {
            (card.name, output.class_id): channel
            for card in model_set.cards
            for channel, output in enumerate(card.classes)
        }
        rules = model_set.fusion
        self._foreground = [(s.network, channels[s.network, s.class_id], int(s.class_id)) for s in rules.foreground]
        self._background = rules.background
        self._exterior = channels[rules.background, LabelClass.EXTERIOR]
        self._nucleoplasm = channels[rules.background, LabelClass.NUCLEOPLASM]

    def __call__(self, logits: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Fuse logits of one crop.

        Parameters
        ----------
        logits
            Per network, float32, (channel, y, x).

        Returns
        -------
        classes : torch.Tensor
            uint8, (y, x), values of `LabelClass`.
        confidence : torch.Tensor
            uint8, (y, x): 255 times the probability of that class in its network, rounded half to even.
        """
        tops = {network: planes.max(dim=0) for network, planes in logits.items()}
        totals = {network: (planes - tops[network].values).exp().sum(dim=0) for network, planes in logits.items()}
        exterior, nucleoplasm = (logits[self._background][i] for i in (self._exterior, self._nucleoplasm))
        classes = (nucleoplasm > exterior).to(torch.uint8)
        background = torch.maximum(nucleoplasm, exterior) - tops[self._background].values
        confidence = background.exp() / totals[self._background]
        for network, channel, class_id in self._foreground:
            claimed = tops[network].indices == channel
            classes = torch.where(claimed, class_id, classes)
            confidence = torch.where(claimed, totals[network].reciprocal(), confidence)
        return classes.to(torch.uint8), (confidence * 255).round().to(torch.uint8)
