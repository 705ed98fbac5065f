"""How an acquisition stands in a deployed system, read from its messages, as a local run would say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from services.contracts.messages import (
    AcquisitionFinished,
    ComponentsMeasured,
    CropExtracted,
    CropSegmented,
    Message,
    NucleusClosed,
    NucleusOpened,
    OutlinesDetected,
    VolumeClosed,
    VolumeExtended,
)
from services.deployed.stack import Stack
from services.ingest.registry import status_of
from services.runtime.bus.replay import replay_messages

READ = ("acquisitions", "outlines", "nuclei", "crops", "segmentations", "volumes", "components")


def _itself(message: Message) -> str:
    return message.identity


def _its_nucleus(message: Message) -> str:
    return message.key


# Which messages are counted as what, and by which name each is counted once, however often it comes.
_COUNTED: tuple[tuple[type[Message], str, Callable[[Message], str]], ...] = (
    (OutlinesDetected, "detected", _itself),
    (CropExtracted, "crops", _itself),
    (CropSegmented, "segmented", _itself),
    (NucleusOpened, "opened", _its_nucleus),
    (NucleusClosed, "closed", _its_nucleus),
    (ComponentsMeasured, "measured", _its_nucleus),
)


@dataclass(slots=True)
class Standing:
    """Counts of one acquisition; each thing once, however often its message came.

    Attributes
    ----------
    detected, crops, segmented, opened, closed, measured
        Identities of what each stage is done with.
    final_z
        Plane below which each nucleus is cleaned for good.
    ended
        Whether nothing more will come.
    ingest
        What ingest wrote of itself last.
    backlog
        Messages that wait for each service, of all acquisitions.
    """

    detected: set[str] = field(default_factory=set)
    crops: set[str] = field(default_factory=set)
    segmented: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    measured: set[str] = field(default_factory=set)
    final_z: dict[str, int] = field(default_factory=dict)
    ended: bool = False
    ingest: dict[str, Any] = field(default_factory=dict)
    backlog: dict[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the acquisition has ended and everything about it has been answered."""
        return self.ended and not any(self.backlog.values()) and len(self.opened) == len(self.measured)

    def take(self, message: Message) -> None:
        """Count a message."""
        for kind, counted, name_of in _COUNTED:
            if isinstance(message, kind):
                getattr(self, counted).add(name_of(message))
        if isinstance(message, VolumeExtended):
            self.final_z[message.key] = message.clean_final_z
        elif isinstance(message, VolumeClosed):
            self.final_z.pop(message.key, None)
        elif isinstance(message, AcquisitionFinished):
            self.ended = True

    def line(self) -> str:
        """Return how it stands, in one line."""
        slices = self.ingest.get("ledger", {}).get("slices", {})
        waiting = {name: count for name, count in self.backlog.items() if count}
        parts = [
            f"slices {slices.get('ingested', 0)} ingested of {slices.get('expected', '?')}",
            f"detected {len(self.detected)}",
            f"crops {len(self.segmented)}/{len(self.crops)}",
            f"nuclei {len(self.opened) - len(self.closed)} open, {len(self.closed)} closed",
            f"measured {len(self.measured)}",
        ]
        if self.final_z:
            parts.append(f"final to z {min(self.final_z.values())}")
        if waiting:
            parts.append("waiting: " + ", ".join(f"{name} {count}" for name, count in waiting.items()))
        if self.ended:
            parts.append("complete" if self.complete else "acquisition ended")
        return " | ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return the numbers."""
        counts = {
            name: len(value) if isinstance(value, set) else value
            for name, value in asdict(self).items()
            if name not in {"ingest", "final_z"}
        }
        return {"line": self.line(), "progress": counts, "complete": self.complete} | {
            "ledger": self.ingest.get("ledger", {}),
            "interval_s": self.ingest.get("interval_s"),
        }


def standing(stack: Stack, acquisition_id: str) -> Standing:
    """Return how an acquisition stands.

    Raises
    ------
    TransientError
        If bus or store are out of reach.
    """
    found = Standing(ingest=status_of(stack.store, acquisition_id))
    for message in replay_messages(stack.bus, READ):
        if message.about_acquisition == acquisition_id:
            found.take(message)
    # Asked last: whatever was said before was in the backlog by then, unless it had been answered.
    found.backlog = stack.backlog()
    return found
