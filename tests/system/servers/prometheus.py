"""A real Prometheus with the rules of the deployment, and the tools that check its files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.system.servers.process import ServerProcess, free_port
from tests.system.servers.provision import require_tool

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "rules"
INSTALL = "apt-get install prometheus"
LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an answer: its labels, and its value at the moment of the question."""

    labels: Mapping[str, str]
    value: float


class QueryRefusedError(ValueError):
    """Prometheus refused an expression; the text is its own."""


class PrometheusServer:
    """A running Prometheus.

    Parameters
    ----------
    process
        To stop, start, freeze and thaw it.
    url
        Where it answers.
    """

    def __init__(self, process: ServerProcess, url: str) -> None:
        self.process = process
        self.url = url
        self._http = urllib3.PoolManager(timeout=10.0, retries=False)

    def query(self, expr: str) -> list[Sample]:
        """Return what an expression gives now.

        Raises
        ------
        QueryRefusedError
            If it makes no sense to Prometheus.
        """
        data = self._ask("/api/v1/query", query=expr)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(series["metric"], float(series["value"][1])) for series in data["result"]]

    def alerts(self, state: str = "firing") -> set[str]:
        """Return the names of the alerts in a state, `firing` or `pending`."""
        return {labels["alertname"] for labels in self.alert_labels(state)}

    def alert_labels(self, state: str = "firing") -> list[Mapping[str, str]]:
        """Return the labels of every alert in a state, its name among them."""
        return [alert["labels"] for alert in self._ask("/api/v1/alerts")["alerts"] if alert["state"] == state]

    def recorded(self) -> list[str]:
        """Return the names of all recording rules."""
        groups = self._ask("/api/v1/rules", type="record")["groups"]
        return [rule["name"] for group in groups for rule in group["rules"]]

    def await_that(self, holds: Callable[[], bool], patience_s: float = 60.0) -> None:
        """Wait until something holds.

        Raises
        ------
        TimeoutError
            If it does not in time.
        """
        deadline_s = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not within {patience_s:.0f} s; the end of its log:\n{self.process.last_lines()}")
            time.sleep(LOOK_EVERY_S)  # noqa: TID251 (a real server, in real time)

    def _ask(self, path: str, **fields: str) -> Any:
        answer = json.loads(self._http.request("GET", f"{self.url}{path}", fields=fields).data)
        if answer["status"] != "success":
            raise QueryRefusedError(answer["error"])
        return answer["data"]


def promtool() -> str:
    """Return the path of promtool."""
    return require_tool("promtool", INSTALL)


def _configuration(targets: Mapping[str, Sequence[str]], every_s: int, rules: Path) -> str:
    """Return a configuration, as JSON, which is YAML: the rules, and targets by job."""
    every = f"{every_s}s"
    return json.dumps({
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(rules / "*.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in targets.items()
        ],
    })  # fmt: skip


def _is_ready(url: str) -> bool:
    with urllib3.PoolManager(timeout=2.0, retries=False) as pool:
        try:
            return pool.request("GET", f"{url}/-/ready").status == 200
        except urllib3.exceptions.HTTPError:
            return False


@contextmanager
def running_prometheus(
    folder: Path, targets: Mapping[str, Sequence[str]], every_s: int = 1, rules: Path = RULES
) -> Iterator[PrometheusServer]:
    """Run a Prometheus that scrapes `targets`, data and log below `folder`; stopped at the end of the block.

    Parameters
    ----------
    folder
        For its data, its configuration and its log.
    targets
        Addresses `host:port` by job; jobs are the names of the services, as in the deployment.
    every_s
        How often it scrapes, and evaluates the rules. How long an alert has to last is what `rules` say.
    rules
        Folder of rules; by default those of the deployment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "prometheus.yml"
    configuration.write_text(_configuration(targets, every_s, rules))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [
        require_tool("prometheus", INSTALL),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = ServerProcess(argv, folder / "prometheus.log", lambda: _is_ready(url))
    process.start()
    try:
        yield PrometheusServer(process, url)
    finally:
        process.stop()
