"""Rules, pages and runbooks agree with each other and with the tables of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from deploy.grafana.generate import queries, rendered, sections
from services.cli.app import app
from services.runtime.metrics.foreign import FOREIGN, TORCHSERVE
from services.runtime.metrics.names import METRICS
from tests.support.promql import metrics_of

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")


def rules() -> list[dict[str, Any]]:
    """Return every rule of every file."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in rules() if "record" in rule}
PANELS = [
    (file, title, expr)
    for file, text in rendered().items()
    for title, expr in queries(yaml.safe_load(text))  # JSON is YAML
]
EXPRESSIONS = [
    *((f"rule {rule.get('alert') or rule['record']}", rule["expr"]) for rule in rules()),
    *((f"{file}: {title}", expr) for file, title, expr in PANELS),
]
# What reliability.md asks to last a while before anybody is called, and how long.
LASTING = {
    "AcquisitionStalled": "1m",
    "SliceUnaccounted": "10m",
    "SliceGap": "10m",
    "NucleusLeavesField": "15m",
    "FallingBehind": "15m",
    "BacklogGrowing": "1h",
    "DependencyDown": "2m",
    "InferenceCanaryFailed": "5m",
    "DlqNonEmpty": "1h",
    "DiskWillFill": "30m",
    "TargetDown": "2m",
}
SEVERITIES = {
    "page": {
        "AcquisitionStalled", "SliceUnaccounted", "SliceConflict", "HashMismatch", "SliceGapWide", "PipelineStuck",
        "FallingBehind", "BacklogGrowing", "DependencyDown", "InferenceCanaryFailed", "DlqBurst", "DiskWillFill",
        "DiskAlmostFull", "OffsetReset", "TargetDown", "NucleusLeavesField", "SlicesTroubled",
    },
    "ticket": {
        "SliceGap", "DlqNonEmpty", "RebalanceStorm", "CrashLoop", "ClockSkew", "QualityDrift", "SliceTroubled",
        "SlicesUnlinked",
    },
    "none": {"Watchdog"},
}  # fmt: skip


def known(name: str) -> bool:
    """Whether a name of an expression is a metric of the tables, one of its parts, or a recorded one."""
    whole = next((name.removesuffix(part) for part in HISTOGRAM_PARTS if name.endswith(part)), name)
    is_part = whole != name and whole in METRICS and METRICS[whole].kind == "histogram"  # type: ignore[index]  # asked the line before
    is_whole = name in METRICS and METRICS[name].kind != "histogram"  # type: ignore[index]
    return is_part or is_whole or name in FOREIGN or name in RECORDED


@pytest.mark.parametrize(("where", "expr"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_rules_and_pages_use_only_metrics_of_the_tables(where: str, expr: str) -> None:
    assert {name for name in metrics_of(expr) if not known(name)} == set(), where


@pytest.mark.parametrize("name", ["fibsem_slices_sen_total", "fibsem_slice_age_seconds", "fibsem_dlq_depth_sum"])
def test_a_name_that_gives_no_sample_is_noticed(name: str) -> None:
    assert not known(name)


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert sorted(sections((DEPLOY / "runbooks.md").read_text())) == sorted(ALERTS)


@pytest.mark.parametrize("name", sections((DEPLOY / "runbooks.md").read_text()))
def test_a_runbook_says_what_it_means_what_one_sees_what_to_do_and_whom_to_call(name: str) -> None:
    text = sections((DEPLOY / "runbooks.md").read_text())[name]
    assert re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE) == ["Means", "You see", "First", "Call"]


def test_runbooks_name_commands_that_exist() -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    named = set(re.findall(r"`fibsem-nuclei ([a-z-]+)", (DEPLOY / "runbooks.md").read_text()))
    assert {"status", "ledger", "declare-missing", "resolve-conflict", "dead-letters", "reconcile"} <= named
    assert named - command.commands.keys() == set()


def test_pages_that_runbooks_send_people_to_exist() -> None:
    text = " ".join((DEPLOY / "runbooks.md").read_text().split())
    titles = {title.rstrip("?") for _, title, _ in PANELS} | {"Pipeline and queues", "GPU throughput", "Runbooks"}
    titles |= {"Storage and faults"}
    italic = {name.rstrip("?") for name in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", text)}
    people = {"operator", "administrator", "developers"}
    unknown = {name for name in italic - people if not any(title.startswith(name) for title in titles)}
    assert unknown == set()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_whom_it_concerns_and_where_its_runbook_is(name: str) -> None:
    alert = ALERTS[name]
    assert name in SEVERITIES[alert["labels"]["severity"]]
    assert set(alert["labels"]) == {"severity", "service"}
    assert alert["annotations"]["runbook_url"] == f"deploy/runbooks.md#{name.lower()}"
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")


def test_no_alert_of_the_design_is_absent() -> None:
    assert set().union(*SEVERITIES.values()) == set(ALERTS)


@pytest.mark.parametrize("name", LASTING)
def test_what_may_pass_by_itself_calls_nobody_at_once(name: str) -> None:
    assert ALERTS[name]["for"] == LASTING[name]


def test_every_alert_fires_and_clears_in_a_test_of_promtool() -> None:
    """Read which alerts the tests ask for, with an answer and without one."""
    fired, silent = set[str](), set[str]()
    for path in sorted((DEPLOY / "prometheus" / "tests").glob("*.yml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("promql_expr_test", ()):
                name = re.search(r'alertname="(\w+)"', case["expr"])
                if name:
                    (fired if case["exp_samples"] else silent).add(name[1])
    assert fired == set(ALERTS)
    # It must never clear.
    assert silent == set(ALERTS) - {"Watchdog"}


def test_torchserves_metrics_are_those_of_its_configuration() -> None:
    listed = yaml.safe_load((DEPLOY / "torchserve" / "metrics.yaml").read_text())
    shown = {metric["name"] for part in ("ts_metrics", "model_metrics") for metric in listed[part]["counter"]}
    assert TORCHSERVE.keys() <= shown


def test_every_service_that_must_answer_is_scraped() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    names = {
        name for job in config["scrape_configs"] for source in job.get("dns_sd_configs", ()) for name in source["names"]
    }
    required = set(re.findall(r'absent\(up\{job="([a-z-]+)"\}\)', ALERTS["TargetDown"]["expr"]))
    # Without a GPU nothing exports one; who trains no networks has no trainer, and nothing in its shadow.
    assert names - required == {"gpu-exporter", "trainer", "shadow"}
    assert required <= names


def unused() -> Iterator[str]:
    """Yield the metrics of the table that no rule and no panel uses."""
    used = {name for _, expr in EXPRESSIONS for name in metrics_of(expr)}
    for name, metric in METRICS.items():
        parts = HISTOGRAM_PARTS if metric.kind == "histogram" else ("",)
        if not any(f"{name}{part}" in used for part in parts):
            yield name


def test_every_metric_is_drawn_or_watched() -> None:
    assert list(unused()) == []
