"""Every metric of the system: name, kind, meaning, labels. Nothing else may be measured or drawn.

Names are `fibsem_<thing>_<unit>[_total]` in base units. Labels have few values: a stage, a reason, the few
acquisitions; never a z, a nucleus or a path. A misspelt name is a type error; a test keeps the table and
the types equal, and another compares a scrape with the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

CounterName = Literal[
    "fibsem_consumer_rebalances_total",
    "fibsem_dependency_retries_total",
    "fibsem_dlq_messages_total",
    "fibsem_hash_mismatch_total",
    "fibsem_inference_crops_total",
    "fibsem_inference_failures_total",
    "fibsem_inference_pixels_total",
    "fibsem_messages_processed_total",
    "fibsem_messages_published_total",
    "fibsem_messages_redelivered_total",
    "fibsem_nuclei_closed_total",
    "fibsem_nuclei_opened_total",
    "fibsem_offset_resets_total",
    "fibsem_s3_bytes_total",
    "fibsem_shadow_crops_total",
    "fibsem_slices_conflict_total",
    "fibsem_slices_duplicate_total",
    "fibsem_slices_judged_total",
    "fibsem_slices_processed_total",
    "fibsem_slices_quarantined_total",
    "fibsem_slices_seen_total",
    "fibsem_slices_troubled_total",
    "fibsem_slices_unlinked_total",
    "fibsem_trainings_total",
]
GaugeName = Literal[
    "fibsem_acquisition_active",
    "fibsem_build_info",
    "fibsem_clock_offset_seconds",
    "fibsem_consumer_lag_messages",
    "fibsem_dependency_up",
    "fibsem_disk_free_bytes",
    "fibsem_dlq_depth",
    "fibsem_forecast_field_exit_ratio",
    "fibsem_forecast_field_shift_meters",
    "fibsem_forecast_nuclei_unfinished",
    "fibsem_forecast_slices_to_go",
    "fibsem_gpu_memory_total_bytes",
    "fibsem_gpu_memory_used_bytes",
    "fibsem_gpu_power_watts",
    "fibsem_gpu_utilization_ratio",
    "fibsem_inference_canary_ok",
    "fibsem_model_info",
    "fibsem_nuclei_complete",
    "fibsem_nuclei_open",
    "fibsem_shadow_dice_ratio",
    "fibsem_shadow_equal_ratio",
    "fibsem_slice_frontier_index",
    "fibsem_slice_intensity_mean",
    "fibsem_slice_interval_seconds",
    "fibsem_slice_last_seen_timestamp_seconds",
    "fibsem_slice_thickness_ratio",
    "fibsem_slice_trouble_ratio",
    "fibsem_slices_missing",
    "fibsem_slices_unaccounted",
    "fibsem_stage_inflight",
    "fibsem_stage_last_progress_timestamp_seconds",
    "fibsem_training_active",
    "fibsem_training_loss",
    "fibsem_training_macro_f1_ratio",
    "fibsem_training_progress_ratio",
]
HistogramName = Literal[
    "fibsem_crop_components",
    "fibsem_crop_confidence_ratio",
    "fibsem_inference_duration_seconds",
    "fibsem_s3_request_duration_seconds",
    "fibsem_slice_age_seconds",
    "fibsem_slice_nuclei",
    "fibsem_stage_duration_seconds",
]
MetricName = CounterName | GaugeName | HistogramName
LabelName = Literal[
    "acquisition",
    "dependency",
    "device",
    "direction",
    "label_class",
    "model",
    "op",
    "outcome",
    "part",
    "partition",
    "profile",
    "reason",
    "sha",
    "stage",
    "topic",
    "type",
    "version",
    "volume",
]


class Labels(TypedDict, total=False):
    """Label values of one sample; which of them a metric has stands in the table."""

    acquisition: str
    dependency: str
    device: str
    direction: str
    label_class: str
    model: str
    op: str
    outcome: str
    part: str
    partition: str
    profile: str
    reason: str
    sha: str
    stage: str
    topic: str
    type: str
    version: str
    volume: str


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric is.

    Attributes
    ----------
    kind
        How its value moves.
    meaning
        Help text of the scrape.
    labels
        Labels that every sample of it has.
    buckets
        Upper bounds of a histogram, in its unit.
    """

    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[LabelName, ...] = ()
    buckets: tuple[float, ...] = ()


class UnknownMetricError(ValueError):
    """The table has no metric of that name and kind, or it has other labels."""


WORK_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
# One slice takes 75 s or 135 s to mill: the bounds tell "within its own period" from "periods behind".
LATENCY_SECONDS = (1.0, 3.0, 10.0, 30.0, 75.0, 135.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
COMPONENTS = (0.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)
SHARES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0)
NUCLEI = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)

METRICS: Mapping[MetricName, Metric] = {
    "fibsem_slices_seen_total": Metric("counter", "Slice files that appeared.", ("acquisition",)),
    "fibsem_slices_processed_total": Metric("counter", "Slices a stage is done with.", ("stage",)),
    "fibsem_slices_duplicate_total": Metric("counter", "Slices that came again with equal bytes.", ("acquisition",)),
    "fibsem_slices_conflict_total": Metric("counter", "Slices that came again with other bytes.", ("acquisition",)),
    "fibsem_slices_quarantined_total": Metric("counter", "Slice files refused.", ("acquisition", "reason")),
    "fibsem_slices_missing": Metric(
        "gauge", "Expected z that neither came nor were declared missing.", ("acquisition",)
    ),
    "fibsem_slices_unaccounted": Metric("gauge", "Files or z that no ledger entry explains.", ("acquisition",)),
    "fibsem_slice_frontier_index": Metric("gauge", "Last z up to which a stage is complete.", ("acquisition", "stage")),
    "fibsem_slice_last_seen_timestamp_seconds": Metric("gauge", "When the last slice appeared.", ("acquisition",)),
    "fibsem_slice_interval_seconds": Metric("gauge", "Time one slice is expected to take.", ("acquisition",)),
    "fibsem_slice_intensity_mean": Metric("gauge", "Mean 8-bit grey of the last slice.", ("acquisition",)),
    "fibsem_slices_judged_total": Metric("counter", "Slices whose quality was judged.", ("acquisition",)),
    "fibsem_slices_troubled_total": Metric(
        "counter", "Slices with something wrong, by what it is.", ("acquisition", "reason")
    ),
    "fibsem_slices_unlinked_total": Metric(
        "counter", "Slices that agree with none before them, where slices are registered.", ("acquisition",)
    ),
    "fibsem_slice_trouble_ratio": Metric(
        "gauge", "Worst trouble of the last slice, in thresholds; 0 where it is good.", ("acquisition",)
    ),
    "fibsem_slice_thickness_ratio": Metric(
        "gauge", "Depth milled before the last slice, in units of the usual.", ("acquisition",)
    ),
    "fibsem_slice_nuclei": Metric("histogram", "Nuclei seen in a slice.", ("acquisition",), NUCLEI),
    "fibsem_slice_age_seconds": Metric(
        "histogram",
        "From a slice's appearance to the moment when a stage is done with what follows from it.",
        ("stage",),
        LATENCY_SECONDS,
    ),
    "fibsem_acquisition_active": Metric("gauge", "1 while slices may come, 0 when it has ended.", ("acquisition",)),
    "fibsem_stage_duration_seconds": Metric("histogram", "Time a stage takes for a batch.", ("stage",), WORK_SECONDS),
    "fibsem_stage_inflight": Metric("gauge", "Messages a stage has in hand.", ("stage",)),
    "fibsem_stage_last_progress_timestamp_seconds": Metric("gauge", "When a stage last finished a batch.", ("stage",)),
    "fibsem_messages_processed_total": Metric("counter", "Messages answered and committed.", ("stage",)),
    "fibsem_messages_published_total": Metric("counter", "Messages published and acknowledged.", ("stage", "type")),
    "fibsem_messages_redelivered_total": Metric("counter", "Messages that came again.", ("stage",)),
    "fibsem_consumer_lag_messages": Metric("gauge", "Messages not yet committed.", ("stage", "topic", "partition")),
    "fibsem_consumer_rebalances_total": Metric("counter", "Changes of the partitions a stage owns.", ("stage",)),
    "fibsem_offset_resets_total": Metric("counter", "Committed places that the bus no longer holds.", ("topic",)),
    "fibsem_clock_offset_seconds": Metric("gauge", "Time of the bus less the time of this machine."),
    "fibsem_s3_request_duration_seconds": Metric(
        "histogram", "Time of a request to the store.", ("op", "outcome"), WORK_SECONDS
    ),
    "fibsem_s3_bytes_total": Metric("counter", "Bytes to and from the store.", ("direction",)),
    "fibsem_dlq_messages_total": Metric("counter", "Messages dead-lettered.", ("stage", "reason")),
    "fibsem_dlq_depth": Metric("gauge", "Dead letters that nobody has dealt with."),
    "fibsem_dependency_up": Metric("gauge", "Whether a dependency answers (1) or not (0).", ("dependency",)),
    "fibsem_dependency_retries_total": Metric("counter", "Tries that ended in an outage.", ("dependency",)),
    "fibsem_hash_mismatch_total": Metric("counter", "Artefacts that are not what they should be.", ("stage",)),
    "fibsem_inference_crops_total": Metric("counter", "Crops segmented.", ("profile",)),
    "fibsem_inference_pixels_total": Metric("counter", "Pixels segmented.", ("profile",)),
    "fibsem_inference_duration_seconds": Metric(
        "histogram", "Time the segmenter takes for a batch.", ("profile",), WORK_SECONDS
    ),
    "fibsem_inference_failures_total": Metric("counter", "Batches that the segmenter failed on.", ("reason",)),
    "fibsem_inference_canary_ok": Metric("gauge", "Whether the networks answer a known crop as they must."),
    "fibsem_gpu_utilization_ratio": Metric("gauge", "Share of time in which a device computed.", ("device",)),
    "fibsem_gpu_memory_used_bytes": Metric("gauge", "Memory of a device in use.", ("device",)),
    "fibsem_gpu_memory_total_bytes": Metric("gauge", "Memory of a device.", ("device",)),
    "fibsem_gpu_power_watts": Metric("gauge", "Power that a device draws.", ("device",)),
    "fibsem_nuclei_open": Metric("gauge", "Nuclei that still grow.", ("acquisition",)),
    "fibsem_nuclei_complete": Metric("gauge", "Nuclei seen from end to end, cut by nothing.", ("acquisition",)),
    "fibsem_forecast_nuclei_unfinished": Metric(
        "gauge", "Nuclei expected to be cut if the acquisition stopped now.", ("acquisition",)
    ),
    "fibsem_forecast_slices_to_go": Metric(
        "gauge", "Slices after which the nuclei more than half milled have ended, with 90 %.", ("acquisition",)
    ),
    "fibsem_forecast_field_exit_ratio": Metric(
        "gauge", "Greatest chance of an open nucleus to leave the field before it ends.", ("acquisition",)
    ),
    "fibsem_forecast_field_shift_meters": Metric(
        "gauge", "How far the field should move to keep its nuclei, along y or x.", ("acquisition", "direction")
    ),
    "fibsem_nuclei_opened_total": Metric("counter", "Nuclei opened.", ("acquisition",)),
    "fibsem_nuclei_closed_total": Metric("counter", "Nuclei closed.", ("acquisition",)),
    "fibsem_crop_components": Metric(
        "histogram", "Connected regions of a class in a label plane.", ("label_class",), COMPONENTS
    ),
    "fibsem_crop_confidence_ratio": Metric(
        "histogram", "Mean probability of a class in a label plane.", ("label_class",), SHARES
    ),
    "fibsem_shadow_crops_total": Metric(
        "counter", "Crops that a candidate segmented beside the current models.", ("model",)
    ),
    "fibsem_shadow_equal_ratio": Metric(
        "gauge", "Share of pixels that a candidate labels as the current models do.", ("model",)
    ),
    "fibsem_shadow_dice_ratio": Metric(
        "gauge", "Dice coefficient of a class, candidate against current models.", ("model", "label_class")
    ),
    "fibsem_training_active": Metric("gauge", "1 while a network is trained."),
    "fibsem_training_progress_ratio": Metric(
        "gauge", "Share of the optimiser steps that a network has taken.", ("model",)
    ),
    "fibsem_training_loss": Metric(
        "gauge", "Loss of the last validation, and of the steps before it.", ("model", "part")
    ),
    "fibsem_training_macro_f1_ratio": Metric("gauge", "Macro F1 of the last validation.", ("model",)),
    "fibsem_trainings_total": Metric("counter", "Trainings that ended.", ("outcome",)),
    "fibsem_model_info": Metric("gauge", "1 for each model in use.", ("model", "sha")),
    "fibsem_build_info": Metric("gauge", "1 for the version that runs.", ("version",)),
    "fibsem_disk_free_bytes": Metric(
        "gauge", "Free space on the disk of a folder: of slices deployed, of results in a local run.", ("volume",)
    ),
}


def require(name: MetricName, kind: Literal["counter", "gauge", "histogram"], labels: Labels) -> Metric:
    """Return the metric of that name.

    Raises
    ------
    UnknownMetricError
        If there is none of that kind, or `labels` are not exactly its labels.
    """
    metric = METRICS.get(name)
    if metric is None or metric.kind != kind:
        raise UnknownMetricError(f"no {kind} is called {name!r}")
    if set(labels) != set(metric.labels):
        raise UnknownMetricError(f"{name} has the labels {metric.labels}, not {tuple(labels)}")
    return metric
