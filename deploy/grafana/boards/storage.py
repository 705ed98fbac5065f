"""Storage and faults: what is damaged, refused, unreachable or full."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query, Row, number

ONE = '{acquisition=~"$acquisition"}'

NUMBERS = Row(
    "Faults",
    (
        number(
            "Dead letters waiting",
            "Refused messages that nobody has dealt with.",
            (Query("max(fibsem_dlq_depth)", "waiting"),),
            unit="none",
            warn=1,
            alarm=5,
            runbook="DlqNonEmpty",
        ),
        number(
            "Damaged artefacts",
            "In ten minutes: read from the store and not what was written. Nothing is computed from them.",
            (Query("sum(fibsem:hash_mismatch:increase10m) or vector(0)", "damaged"),),
            unit="none",
            alarm=1,
            runbook="HashMismatch",
        ),
        number(
            "Conflicts",
            "In ten minutes: one z, other bytes. The first stands until a decision is recorded.",
            (Query("sum(fibsem:slices_conflict:increase10m) or vector(0)", "conflicts"),),
            unit="none",
            alarm=1,
            runbook="SliceConflict",
        ),
        number(
            "Places lost on the bus",
            "In ten minutes: committed places that the bus no longer holds.",
            (Query("sum(fibsem:offset_resets:increase10m) or vector(0)", "resets"),),
            unit="none",
            alarm=1,
            runbook="OffsetReset",
        ),
        number(
            "Duplicates",
            "Slices that came again with equal bytes, ever. Harmless.",
            (Query(f"sum by (acquisition) (fibsem_slices_duplicate_total{ONE})", "{{acquisition}}"),),
            unit="none",
        ),
        number(
            "Free",
            "Room on the disk that the microscope writes to.",
            (Query("fibsem:disk_free:bytes", "{{volume}}"),),
            unit="decbytes",
            warn=100e9,
            alarm=22e9,
            low_is_bad=True,
            runbook="DiskAlmostFull",
        ),
    ),
)

DEPENDENCIES = Row(
    "Dependencies",
    (
        Panel(
            "Who reaches what?",
            "1: a service's dependency answers; 0: the service waits for it and tries again.",
            (Query("min by (job, dependency) (fibsem_dependency_up)", "{{job}}: {{dependency}}"),),
            kind="states",
            unit="none",
            alarm=1,
            low_is_bad=True,
            width=12,
            runbook="DependencyDown",
        ),
        Panel(
            "Tries that ended in an outage",
            "In ten minutes, by dependency.",
            (Query("sum by (dependency) (increase(fibsem_dependency_retries_total[10m]))", "{{dependency}}"),),
            unit="none",
            width=12,
            runbook="DependencyDown",
        ),
    ),
)

STORE = Row(
    "Store",
    (
        Panel(
            "How fast does the store answer?",
            "95 % of requests, by kind.",
            (
                Query(
                    "histogram_quantile(0.95, sum by (op, le) (rate(fibsem_s3_request_duration_seconds_bucket[5m])))",
                    "{{op}}",
                ),
            ),
            unit="s",
        ),
        Panel(
            "What becomes of requests?",
            "Requests a second by outcome. `missing` is a normal answer to `is it there already?`.",
            (Query("sum by (outcome) (rate(fibsem_s3_request_duration_seconds_count[5m]))", "{{outcome}}"),),
            unit="reqps",
        ),
        Panel(
            "Bytes to and from the store",
            "By direction.",
            (Query("sum by (direction) (rate(fibsem_s3_bytes_total[5m]))", "{{direction}}"),),
            unit="Bps",
        ),
    ),
)

REFUSED = Row(
    "Refused",
    (
        Panel(
            "Dead letters by stage and reason",
            "All since the processes started.",
            (Query("sum by (stage, reason) (fibsem_dlq_messages_total)", "{{stage}}: {{reason}}"),),
            kind="steps",
            unit="none",
            width=12,
            runbook="DlqBurst",
        ),
        Panel(
            "Slice files refused, by reason",
            "All since ingest started. The file stays where it is.",
            (Query(f"sum by (acquisition, reason) (fibsem_slices_quarantined_total{ONE})", "{{reason}}"),),
            kind="steps",
            unit="none",
            width=12,
            runbook="DlqNonEmpty",
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel(
            "Memory",
            "Held by all replicas of a service. Flat over days, or something leaks.",
            (Query("sum by (job) (process_resident_memory_bytes)", "{{job}}"),),
            unit="decbytes",
        ),
        Panel(
            "Processor",
            "Cores used by all replicas of a service.",
            (Query("sum by (job) (rate(process_cpu_seconds_total[5m]))", "{{job}}"),),
            unit="none",
        ),
        Panel(
            "File descriptors",
            "Share of those a process may open, of the worst replica.",
            (Query("max by (job) (process_open_fds / process_max_fds)", "{{job}}"),),
            unit="percentunit",
            warn=0.8,
        ),
        Panel(
            "Running for",
            "Since the newest replica started. A saw-tooth is a crash loop.",
            (Query("time() - fibsem:process_start_time:newest", "{{job}}"),),
            unit="s",
            runbook="CrashLoop",
        ),
        Panel(
            "Clocks",
            "Time of the bus less that of the service's machine. Results do not depend on it; ages on these pages do.",
            (Query("max by (job) (abs(fibsem_clock_offset_seconds))", "{{job}}"),),
            unit="s",
            warn=1,
            runbook="ClockSkew",
        ),
        Panel(
            "Which version runs where?",
            "More than one line per service means that an upgrade has not reached all replicas.",
            (Query("count by (job, version) (fibsem_build_info == 1)", "{{job}} {{version}}"),),
            kind="steps",
            unit="none",
        ),
    ),
)

BOARD = Board(
    "fibsem-storage",
    "Storage and faults",
    "Is something damaged, refused, unreachable or full?",
    (NUMBERS, DEPENDENCIES, STORE, REFUSED, PROCESSES),
)
