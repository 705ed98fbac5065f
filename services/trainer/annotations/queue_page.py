"""The page of a review queue: every proposal as an overlay with its map of doubt, the most doubtful first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.trainer.annotations.class_map import UNLABELLED, UNLABELLED_NAME
from services.trainer.annotations.dataset import Plane, pixels_by_class
from services.trainer.annotations.overlays import (
    UNLABELLED_COLOUR,
    class_colours,
    data_address,
    doubt_map,
    overlay,
    plain,
)
from services.trainer.annotations.page import DEFAULT_WIDTH_PX, page_template
from services.trainer.annotations.queues import DamagedQueueError, Decision, Proposal, ReviewQueue
from services.trainer.annotations.reviewing import Standing, UnfitLabelsError, labels_now, standings

PAGE = "review.html"


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    proposal: Proposal
    state: str
    decisions: tuple[Decision, ...]
    by_hand: bool
    place: str
    image: str
    overlay: str
    doubt: str
    pixels: Mapping[str, int]

    @property
    def corrected(self) -> bool:
        return bool(self.decisions) and self.decisions[-1].corrected

    @property
    def shares(self) -> list[tuple[str, str]]:
        total = self.proposal.height_px * self.proposal.width_px
        return [(name, f"{count / total:.1%}") for name, count in self.pixels.items() if count]


def write_queue_page(
    queue: ReviewQueue,
    told: Callable[[int, int], None] = lambda _done, _total: None,
    width_px: int = DEFAULT_WIDTH_PX,
) -> Path:
    """Write `review.html` into a queue; same queue and decisions, same bytes. It opens with no network.

    Parameters
    ----------
    queue
        What to show.
    told
        Hears of progress.
    width_px
        Most columns of a picture.
    """
    found = standings(queue)
    cards = []
    for done, standing in enumerate(found):
        told(done, len(found))
        cards.append(_card(queue, standing, width_px))
    states = Counter(card.state for card in cards)
    ids = queue.manifest.class_ids
    text = page_template("queue_page.html").render(
        name=queue.folder.absolute().name,
        folder=queue.folder.absolute().name,
        manifest=queue.manifest,
        missing=len(queue.manifest.images) - len(cards),
        counts={state: states[state] for state in ("waiting", "accepted", "rejected")},
        labels=", ".join(f"{class_id} {name}" for name, class_id in ids.items()),
        classes=_class_rows(ids, cards),
        cards=cards,
    )
    path = queue.folder / PAGE
    draft = path.with_name(f".{PAGE}.partial")
    draft.write_text(text, encoding="utf-8")
    told(len(found), len(found))
    return draft.replace(path)


def _card(queue: ReviewQueue, standing: Standing, width_px: int) -> _Card:
    proposal, ids = standing.proposal, queue.manifest.class_ids
    image = queue.image(proposal.name)
    labels, by_hand = _shown(queue, standing)
    place = [f"nucleus {proposal.nucleus}"] if proposal.nucleus is not None else []
    place += [f"z {proposal.z}"] if proposal.z is not None else []
    return _Card(
        name=proposal.name,
        proposal=proposal,
        state=standing.state,
        decisions=standing.decisions,
        by_hand=by_hand,
        place=", ".join(place),
        image=data_address(plain(image, width_px)),
        overlay=data_address(overlay(image, labels, ids, width_px)),
        doubt=data_address(doubt_map(image, queue.doubt(proposal.name), width_px)),
        pixels=pixels_by_class(labels, ids),
    )


def _shown(queue: ReviewQueue, standing: Standing) -> tuple[Plane, bool]:
    """Return the labels that were accepted, else those that lie there now, and whether a hand changed these."""
    proposal = standing.proposal
    if standing.state == "accepted":
        return queue.accepted_labels(standing.decisions[-1]), False
    try:
        return labels_now(queue, proposal)
    except (DamagedQueueError, UnfitLabelsError):
        return np.full((proposal.height_px, proposal.width_px), UNLABELLED, np.uint8), True


def _class_rows(ids: Mapping[str, int], cards: Sequence[_Card]) -> list[tuple[str, str, str, int, int, str]]:
    """Colour, name, id, images, pixels and share of each class, unlabelled last."""
    colours = class_colours(ids) | {UNLABELLED_NAME: UNLABELLED_COLOUR}
    everything = max(1, sum(count for card in cards for count in card.pixels.values()))
    rows = []
    for name, class_id in (*ids.items(), (UNLABELLED_NAME, UNLABELLED)):
        count = sum(card.pixels[name] for card in cards)
        images = sum(bool(card.pixels[name]) for card in cards)
        colour = "#{:02x}{:02x}{:02x}".format(*colours[name])
        rows.append((colour, name, str(class_id), images, count, f"{count / everything:.2%}"))
    return rows
