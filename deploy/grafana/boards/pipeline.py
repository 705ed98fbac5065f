"""Pipeline and queues: which stage holds up the others, and when it will have caught up."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query, Row

QUEUES = Row(
    "Queues",
    (
        Panel(
            "What waits before each stage?",
            "Messages not yet committed, over all partitions. A few come and go with every slice.",
            (Query("fibsem:consumer_lag:messages", "{{stage}}"),),
            unit="none",
            warn=100,
            runbook="BacklogGrowing",
        ),
        Panel(
            "When will it have caught up?",
            "Backlog by the rate of the last five minutes, if nothing new came.",
            (Query("fibsem:queue_drain:seconds", "{{stage}}"),),
            unit="s",
            runbook="BacklogGrowing",
        ),
        Panel(
            "Could it keep up with the microscope?",
            "Slices a stage could do by those that come. Below 1 it never catches up: add replicas.",
            (Query("fibsem:realtime:factor", "{{stage}}"),),
            unit="none",
            warn=2,
            alarm=1,
            low_is_bad=True,
            runbook="FallingBehind",
        ),
    ),
)

WORK = Row(
    "Work",
    (
        Panel(
            "Messages a second",
            "Answered and committed.",
            (Query("fibsem:messages:rate5m", "{{stage}}"),),
            unit="cps",
        ),
        Panel(
            "How busy is each stage?",
            "Share of its time that a replica works. Near 1 and with a backlog: this is the slowest stage.",
            (Query("fibsem:stage_busy:ratio", "{{stage}}"),),
            unit="percentunit",
            warn=0.9,
        ),
        Panel(
            "How long does a batch take?",
            "Mean time per batch, with fetching, computing, storing and publishing.",
            (
                Query(
                    "sum by (stage) (rate(fibsem_stage_duration_seconds_sum[5m]))"
                    " / (sum by (stage) (rate(fibsem_stage_duration_seconds_count[5m])) > 0)",
                    "{{stage}}",
                ),
            ),
            unit="s",
        ),
        Panel(
            "What is in hand?",
            "Messages being worked on at this moment.",
            (Query("sum by (stage) (fibsem_stage_inflight)", "{{stage}}"),),
            unit="none",
            runbook="PipelineStuck",
        ),
        Panel(
            "How long ago did a stage finish something?",
            "The replica that waits longest. Long is normal for a stage without work; see what is in hand.",
            (Query("time() - min by (stage) (fibsem_stage_last_progress_timestamp_seconds)", "{{stage}}"),),
            unit="s",
            runbook="PipelineStuck",
        ),
        Panel(
            "What is published?",
            "Messages a second by kind: what became of the slices.",
            (Query("sum by (type) (rate(fibsem_messages_published_total[5m]))", "{{type}}"),),
            unit="cps",
        ),
    ),
)

AGES = Row(
    "From slice to result",
    (
        Panel(
            "Half of all are done within",
            "From a slice's appearance to the moment when a stage is done with what follows from it.",
            (Query("fibsem:slice_age_seconds:p50", "{{stage}}"),),
            unit="s",
        ),
        Panel(
            "95 % are done within",
            "One slice period (75 s or 135 s) is the aim for label planes.",
            (Query("fibsem:slice_age_seconds:p95", "{{stage}}"),),
            unit="s",
            warn=135,
            alarm=675,
            runbook="FallingBehind",
        ),
        Panel(
            "99 % are done within",
            "The slowest: after an outage, a restart or a late slice.",
            (Query("fibsem:slice_age_seconds:p99", "{{stage}}"),),
            unit="s",
        ),
    ),
)

REPLICAS = Row(
    "Replicas",
    (
        Panel(
            "How many replicas answer?",
            "Containers of each service that were scraped.",
            (Query('sum by (job) (up{job!="prometheus"})', "{{job}}"),),
            kind="steps",
            unit="none",
            runbook="TargetDown",
        ),
        Panel(
            "Do partitions change hands?",
            "Changes in 30 minutes. Each start or stop of a replica makes some; a storm makes no progress.",
            (Query("fibsem:consumer_rebalances:increase30m", "{{stage}}"),),
            unit="none",
            warn=3,
            runbook="RebalanceStorm",
        ),
        Panel(
            "Do messages come again?",
            "Redelivered in ten minutes: after a crash or an outage. Results stay the same.",
            (Query("sum by (stage) (increase(fibsem_messages_redelivered_total[10m]))", "{{stage}}"),),
            unit="none",
        ),
    ),
)

BOARD = Board(
    "fibsem-pipeline",
    "Pipeline and queues",
    "Which stage holds up the others, and when will it have caught up?",
    (QUEUES, WORK, AGES, REPLICAS),
)
