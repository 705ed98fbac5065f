"""Metrics that others measure and our rules and panels may use; the table of our own is `names`."""

from __future__ import annotations

from collections.abc import Mapping

# What `prometheus_client.ProcessCollector` tells of each of our processes (Linux).
PROCESS: Mapping[str, str] = {
    "process_cpu_seconds_total": "Processor time used.",
    "process_max_fds": "File descriptors a process may open.",
    "process_open_fds": "File descriptors open.",
    "process_resident_memory_bytes": "Memory held.",
    "process_start_time_seconds": "When the process started.",
    "process_virtual_memory_bytes": "Address space.",
}

# What Prometheus itself says: of every target that it scrapes, and of every alert.
PROMETHEUS: Mapping[str, str] = {
    "ALERTS": "1 for every alert, by name and state.",
    "up": "1 when the last scrape was answered, 0 when not.",
    "scrape_duration_seconds": "How long the last scrape took.",
    "scrape_samples_scraped": "How many samples it gave.",
}

# What TorchServe shows at its metrics address: its own counters, and those of our handler, which run in its worker.
# deploy/torchserve/metrics.yaml lists them; both counters of microseconds are totals over all requests.
TORCHSERVE: Mapping[str, str] = {
    "ts_inference_requests_total": "Requests.",
    "ts_inference_latency_microseconds": "Time from request to answer, in total.",
    "ts_queue_latency_microseconds": "Time requests waited for their batch, in total.",
    "fibsem_server_batches_total": "Batches that our handler worked on.",
    "fibsem_server_busy_seconds_total": "Time in which our handler worked.",
    "fibsem_server_out_of_memory_total": "Batches that did not fit into the device's memory.",
    "fibsem_server_refused_total": "Requests refused as malformed.",
    "fibsem_server_requests_total": "Requests that our handler saw.",
}

FOREIGN: Mapping[str, str] = {**PROCESS, **PROMETHEUS, **TORCHSERVE}
