"""The registry of topics: from it topics are created, documented, drawn and tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from services.contracts.messages import (
    AcquisitionFinished,
    AcquisitionOpened,
    ChromosomesSeparated,
    ComponentsMeasured,
    CropAbsent,
    CropExtracted,
    CropSegmented,
    DeadLettered,
    DecisionRecorded,
    Message,
    ModelPublished,
    NucleusClosed,
    NucleusOpened,
    ObjectChanged,
    OutlinesDetected,
    SliceAbsent,
    SliceIngested,
    SliceJudged,
    SliceRegistered,
    TrainingRequested,
    VolumeClosed,
    VolumeExtended,
)

DEAD_LETTERS = "dead-letters"
# Whoever looks after a system reads dead letters as this group; what it has committed was dealt with.
OPERATOR = "operator"

KeyedBy = Literal["acquisition", "slice", "nucleus", "subject"]


@dataclass(frozen=True, slots=True)
class Topic:
    """A declared topic.

    Attributes
    ----------
    name
        Name on the bus.
    partitions
        Upper limit of replicas that can share the work.
    retention_days
        Longer than the longest acquisition plus a month, so that a stalled reader loses nothing.
    messages
        Types that may stand on it.
    producers, consumers
        Services, by folder name.
    keyed_by
        What keeps its order: records about one of these stand in one partition.
    """

    name: str
    partitions: int
    retention_days: int
    messages: tuple[type[Message], ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    keyed_by: KeyedBy


TOPICS: tuple[Topic, ...] = (
    Topic(
        "acquisitions", 8, 90, (AcquisitionOpened, DecisionRecorded, AcquisitionFinished),
        ("ingest",), ("extract-follow", "results"), "acquisition",
    ),
    Topic("slices", 8, 60, (SliceIngested, SliceAbsent), ("ingest",), ("extract-detect", "results"), "slice"),
    Topic(
        "outlines", 8, 60, (OutlinesDetected, SliceAbsent),
        ("extract-detect", "extract-follow"), ("extract-follow",), "acquisition",
    ),
    Topic(
        "nuclei", 8, 60, (NucleusOpened, NucleusClosed),
        ("extract-follow",), ("postprocess", "results"), "nucleus",
    ),
    Topic("quality", 8, 60, (SliceJudged,), ("extract-follow",), ("results",), "acquisition"),
    Topic("transforms", 8, 60, (SliceRegistered,), ("extract-follow",), ("results",), "acquisition"),
    Topic("crops", 8, 60, (CropExtracted, CropAbsent), ("extract-follow",), ("inference",), "nucleus"),
    Topic(
        "segmentations", 8, 60, (CropSegmented, CropAbsent),
        ("inference", "postprocess"), ("postprocess", "shadow"), "nucleus",
    ),
    Topic(
        "volumes", 8, 60, (VolumeExtended, VolumeClosed),
        ("postprocess",), ("components", "results"), "nucleus",
    ),
    Topic("objects", 8, 60, (ObjectChanged, ChromosomesSeparated), ("components",), ("results",), "nucleus"),
    Topic("components", 8, 60, (ComponentsMeasured,), ("components",), ("results",), "nucleus"),
    # Inference takes what is said here into use when a decision names it, and not before.
    Topic("models", 1, 90, (ModelPublished,), ("trainer",), ("inference",), "subject"),
    Topic("training-requests", 1, 90, (TrainingRequested,), (), ("trainer",), "subject"),
    Topic(
        DEAD_LETTERS, 1, 90, (DeadLettered,),
        ("ingest", "extract-detect", "extract-follow", "inference", "postprocess", "components", "trainer"),
        ("results",), "subject",
    ),
)  # fmt: skip

TOPICS_BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}


def record_key(topic: str, message: Message) -> str:
    """Return the key of a message on a topic.

    The same message may stand on two topics in different orders: an absent slice is one of many independent
    ones on `slices`, and keeps its acquisition's order on `outlines`.
    """
    match TOPICS_BY_NAME[topic].keyed_by:
        case "acquisition":
            return message.about_acquisition
        case "slice":
            return message.identity
        case _:
            return message.key
