"""GPU throughput: what the devices do, how near to their limit, and what they wait for."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query, Row, number

NUMBERS = Row(
    "Throughput",
    (
        number("Crops a second", "Over all replicas.", (Query("fibsem:crops:rate5m", "{{profile}}"),), unit="none"),
        number(
            "Megapixels a second",
            "Over all replicas. A crop of a nucleus has 2.9 Mpx at 4 nm.",
            (Query("fibsem:pixels:rate5m / 1e6", "{{profile}}"),),
            unit="none",
        ),
        number(
            "Slices a minute",
            "Slices of which crops were segmented.",
            (Query('fibsem:slices:rate10m{stage="inference"} * 60', "slices"),),
            unit="none",
        ),
        number(
            "Busy",
            "Share of its time that a replica waits for its segmenter. A live acquisition leaves a GPU mostly idle.",
            (Query("fibsem:inference_busy:ratio", "{{profile}}"),),
            unit="percentunit",
        ),
        number(
            "Of the device's limit",
            "Speed while it computes, by what the device could do at best (rules/limits.yml). None: no limit given.",
            (Query("fibsem:device_limit:share", "{{profile}}"),),
            unit="percentunit",
        ),
        number(
            "Known crop answered rightly",
            "1: the networks answer the canary crop as they must. 0 stops inference.",
            (Query("fibsem:inference_canary:ok", "canary"),),
            unit="none",
            alarm=1,
            low_is_bad=True,
            runbook="InferenceCanaryFailed",
        ),
    ),
)

BATCHES = Row(
    "Batches",
    (
        Panel(
            "Megapixels a second while computing",
            "Speed of one device without its idle time: compare it with the benchmark of the same device.",
            (Query("fibsem:inference_speed:pixels_per_second / 1e6", "{{profile}}"),),
            unit="none",
        ),
        Panel(
            "How full are batches?",
            "Crops per request of inference, and requests per batch of the server. Near 1 with a backlog wastes a GPU.",
            (
                Query("fibsem:inference_batch:crops", "inference {{profile}}"),
                Query(
                    "sum by (job) (rate(fibsem_server_requests_total[5m]))"
                    " / (sum by (job) (rate(fibsem_server_batches_total[5m])) > 0)",
                    "{{job}}",
                ),
            ),
            unit="none",
        ),
        Panel(
            "How long does a batch take?",
            "Median and 95 % of the segmenter's answers, as inference sees them.",
            (
                Query(
                    "histogram_quantile(0.50, sum by (le) (rate(fibsem_inference_duration_seconds_bucket[5m])))", "50 %"
                ),
                Query(
                    "histogram_quantile(0.95, sum by (le) (rate(fibsem_inference_duration_seconds_bucket[5m])))", "95 %"
                ),
            ),
            unit="s",
        ),
        Panel(
            "What do requests wait for?",
            "Per request, in the server: in its queue, and in all. Queue time is spare work; none means it starves.",
            (
                Query(
                    "sum(rate(ts_queue_latency_microseconds[5m])) / (sum(rate(ts_inference_requests_total[5m])) > 0)",
                    "queue",
                ),
                Query(
                    "sum(rate(ts_inference_latency_microseconds[5m]))"
                    " / (sum(rate(ts_inference_requests_total[5m])) > 0)",
                    "in all",
                ),
            ),
            unit="µs",
        ),
        Panel(
            "How busy is the server's worker?",
            "Share of its time in our handler.",
            (Query("sum by (instance) (rate(fibsem_server_busy_seconds_total[5m]))", "{{instance}}"),),
            unit="percentunit",
        ),
        Panel(
            "What failed?",
            "Batches in ten minutes: failures by reason, batches too large for the memory, malformed requests.",
            (
                Query("sum by (reason) (increase(fibsem_inference_failures_total[10m]))", "{{reason}}"),
                Query("sum(increase(fibsem_server_out_of_memory_total[10m]))", "out of memory"),
                Query("sum(increase(fibsem_server_refused_total[10m]))", "refused"),
            ),
            unit="none",
            warn=1,
            runbook="DependencyDown",
        ),
    ),
)

DEVICES = Row(
    "Devices (empty without a GPU)",
    (
        Panel(
            "Utilization",
            "Share of time in which a device computed anything.",
            (Query("fibsem_gpu_utilization_ratio", "{{device}}"),),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Memory in use",
            "Share of the device's memory.",
            (Query("fibsem_gpu_memory_used_bytes / fibsem_gpu_memory_total_bytes", "{{device}}"),),
            unit="percentunit",
            warn=0.95,
            width=6,
        ),
        Panel("Power", "What a device draws.", (Query("fibsem_gpu_power_watts", "{{device}}"),), unit="watt", width=6),
        Panel(
            "Energy per gigapixel",
            "Power of all devices by the pixels they segment, while they do.",
            (Query("sum(fibsem_gpu_power_watts) / (sum(fibsem:pixels:rate5m) > 0) * 1e9", "J per Gpx"),),
            unit="joule",
            width=6,
        ),
    ),
)

MODELS = Row(
    "Networks",
    (
        Panel(
            "Which networks are in use?",
            "By the hash of their weights and card. A change is a recorded decision between two nuclei.",
            (Query("max by (model, sha) (fibsem_model_info)", "{{model}} {{sha}}"),),
            kind="states",
            unit="none",
            width=24,
            height=6,
        ),
    ),
)

BOARD = Board(
    "fibsem-gpu",
    "GPU throughput",
    "What the devices do, how near to their limit, and what they wait for.",
    (NUMBERS, BATCHES, DEVICES, MODELS),
)
