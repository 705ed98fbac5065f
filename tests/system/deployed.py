"""A deployed system of real processes on real servers, one process per service, as compose runs them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.deployed.collecting import collect
from services.deployed.stack import Stack
from services.deployed.standing import Standing, standing
from services.ingest.registry import UnknownAcquisitionError, settings_of
from services.runtime.deployment import Deployment, bus_of, store_of
from services.runtime.errors import TransientError
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.probe import is_well
from tests.system.servers.kafka import KafkaServer
from tests.system.servers.process import LOOK_EVERY_S, ServerProcess, free_port
from tests.system.servers.s3_server import S3Server

STAGES: Mapping[str, tuple[str, ...]] = {
    "ingest": ("services.ingest",),
    "extract-detect": ("services.extract", "detect"),
    "extract-follow": ("services.extract", "follow"),
    "inference": ("services.inference",),
    "postprocess": ("services.postprocess",),
    "components": ("services.components",),
}
# What runs beside an acquisition where somebody wants it; `torchserve` is only a user of the store here.
BESIDE: Mapping[str, tuple[str, ...]] = {
    "trainer": ("services.trainer",),
    "shadow": ("services.inference", "shadow"),
    "torchserve": (),
}
# A machine under load, with a broker, a store, a model server and six services on two cores.
PATIENCE_S = 400.0


def without(manifest: str, *names: str) -> list[str]:
    """Return the lines of a manifest but for those of some files, which must be there."""
    lines = {line.split("  ", 1)[1]: line for line in manifest.splitlines()}
    for name in names:
        del lines[name]
    return list(lines.values())


@dataclass
class System:
    """One deployment over one folder of slices.

    Attributes
    ----------
    folder
        For logs.
    kafka, s3, model_server_url
        The servers, which outlive it.
    model_metrics_url
        Where the model server is scraped.
    slices, acquisition, voxel_nm
        What it works on.
    extra, extra_of
        Further variables, for every service, and for single ones by stage.
    s3_endpoint
        A proxy before the store; empty: none.
    """

    folder: Path
    kafka: KafkaServer
    s3: S3Server
    model_server_url: str
    slices: Path
    acquisition: str = "toy"
    voxel_nm: str = "80,80,80"
    watch: bool = False
    s3_endpoint: str = ""
    model_metrics_url: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    extra_of: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: dict[str, ServerProcess] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._prefix = f"deployment-{secrets.token_hex(4)}"
        self._keys = {name: secrets.token_hex(16) for name in (*STAGES, *BESIDE, "operator")}

    def environment(self, user: str) -> dict[str, str]:
        """Return the variables of one process, which knows the store as its own user."""
        return {
            "FIBSEM_KAFKA__BOOTSTRAP": self.kafka.bootstrap,
            "FIBSEM_KAFKA__SESSION_TIMEOUT_S": "6",
            "FIBSEM_KAFKA__HEARTBEAT_S": "1",
            "FIBSEM_S3__ENDPOINT": f"http://{self.s3_endpoint or self.s3.endpoint}",
            "FIBSEM_S3__BUCKET": "fibsem-system",
            "FIBSEM_S3__ACCESS_KEY": user,
            "FIBSEM_S3__SECRET_KEY": self._keys[user],
            "FIBSEM_S3__PREFIX": self._prefix,
            # Where no server is named, networks run in the processes of inference.
            **({"FIBSEM_TORCHSERVE__URL": self.model_server_url} if self.model_server_url else {}),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **self.extra,
        }

    def process_environment(self, user: str) -> dict[str, str]:
        """Return all variables of a process that works as this user, those of this process among them."""
        return {**os.environ, **self.environment(user)}  # noqa: TID251 (handed on, not read)

    def _owner(self) -> dict[str, str]:
        """Return the variables of a process that knows the store as its owner, who may do everything."""
        return self.environment("operator") | {
            "FIBSEM_S3__ACCESS_KEY": self.s3.access_key,
            "FIBSEM_S3__SECRET_KEY": self.s3.secret_key,
        }

    def set_up(self) -> None:
        """Run the set-up job, as the store's owner."""
        environment = self._owner()
        environment |= {f"FIBSEM_USERS__{name}": key for name, key in self._keys.items()}
        done = subprocess.run(
            [sys.executable, "-m", "services.deployed"],
            env={**os.environ, **environment},  # noqa: TID251 (handed on, not read)
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self, stage: str, *, member: str = "0", fail_at: str | None = None, wait: bool = False) -> ServerProcess:
        """Start one replica of a service."""
        name = f"{stage}-{member}"
        # One that returns is watched where it was before, as a container's service name stays.
        port = self.ports.setdefault(name, free_port())
        environment = self.environment(stage) | {
            "FIBSEM_MEMBER": f"{stage}-{member}",
            "FIBSEM_WATCH_PORT": str(port),
            "FIBSEM_ACQUISITION": self.acquisition,
            "FIBSEM_SLICES": str(self.slices),
            "FIBSEM_VOXEL_SIZE": self.voxel_nm,
            "FIBSEM_WATCH": str(self.watch).lower(),
            **self.extra_of.get(stage, {}),
        }
        if fail_at is not None:
            environment["FIBSEM_FAIL_AT"] = fail_at
        process = ServerProcess(
            [sys.executable, "-m", *(STAGES.get(stage) or BESIDE[stage])],
            self.folder / f"{name}.log",
            lambda: is_well(port, "/readyz"),
            environment=environment,
            patience_s=PATIENCE_S,
        )
        process.start(wait=wait)
        self.processes[name] = process
        return process

    def start_all(self) -> None:
        """Start one replica of every service; they wait for one another by themselves."""
        for stage in STAGES:
            self.start(stage)

    def restart(self, stage: str, *, member: str = "0") -> float:
        """Ask one replica to end and start it again, as a rolling restart does; return how long it took to end."""
        began_s = time.monotonic()
        self.processes[f"{stage}-{member}"].stop()
        took_s = time.monotonic() - began_s
        self.start(stage, member=member)
        return took_s

    @contextmanager
    def supervised(self) -> Iterator[list[str]]:
        """Start again whatever ends by itself, as a container's restart policy does; give the names of what ended."""
        over, ended = threading.Event(), list[str]()

        def look() -> None:
            while not over.wait(LOOK_EVERY_S):
                for name, process in tuple(self.processes.items()):
                    if process.exit_status is not None:
                        ended.append(name)
                        stage, _, member = name.rpartition("-")
                        self.start(stage, member=member)

        thread = threading.Thread(target=look, name="supervisor")
        thread.start()
        try:
            yield ended
        finally:
            over.set()
            thread.join()

    def await_segmented(self, count: int) -> None:
        """Wait until so many crops have their label planes."""
        self.await_standing(lambda found: len(found.segmented) >= count)

    def stop_all(self) -> None:
        """Ask every service to end."""
        for process in self.processes.values():
            process.stop()

    @contextmanager
    def stack(self, *, as_owner: bool = False) -> Iterator[Stack]:
        """Connect to it from outside, as its operator or as the store's owner."""
        deployment = deployment_of(self._owner() if as_owner else self.environment("operator"))
        metrics = PrometheusMetrics()
        store, bus = store_of(deployment, metrics), bus_of(deployment, metrics)
        try:
            yield Stack(deployment, store, bus)
        finally:
            bus.close()
            store.close()

    def await_complete(self, patience_s: float = PATIENCE_S) -> Standing:
        """Wait until the acquisition is complete."""
        return self.await_standing(lambda found: found.complete, patience_s)

    def await_standing(self, is_so: Callable[[Standing], bool], patience_s: float = PATIENCE_S) -> Standing:
        """Wait until the acquisition stands in some way."""
        deadline_s = time.monotonic() + patience_s
        with self.stack() as stack:
            while True:
                found = self._standing(stack)
                if found is not None and is_so(found):
                    return found
                assert time.monotonic() < deadline_s, f"{found and found.line()}\n{self.said()}"
                time.sleep(1.0)  # noqa: TID251 (real processes, in real time)

    def standing(self, stack: Stack) -> Standing:
        """Return how the acquisition stands."""
        return standing(stack, self.acquisition)

    def _standing(self, stack: Stack) -> Standing | None:
        try:
            return standing(stack, self.acquisition)
        except TransientError:
            return None

    def collect(self, out: Path) -> str:
        """Collect the results; return the manifest."""
        with self.stack() as stack:
            try:
                acquisition = settings_of(stack.store, self.acquisition)
            except UnknownAcquisitionError as error:
                raise AssertionError(self.said()) from error
            return collect(stack, acquisition, out).read_text()

    def said(self) -> str:
        """Return the end of every log."""
        return "\n".join(f"--- {name}\n{process.last_lines()}" for name, process in sorted(self.processes.items()))


def deployment_of(environment: Mapping[str, str]) -> Deployment:
    """Return the settings that an environment holds, without touching that of this process."""
    nested: dict[str, str | dict[str, str]] = {}
    for name, value in environment.items():
        group, _, key = name.removeprefix("FIBSEM_").lower().partition("__")
        if key:
            inner = nested.setdefault(group, {})
            assert isinstance(inner, dict)
            inner[key] = value
        elif group in Deployment.model_fields:
            nested[group] = value
    return Deployment.model_validate(nested)
