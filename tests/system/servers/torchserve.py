"""A real TorchServe with the model archive of a folder of models."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import urllib3

import services.inference
from services.contracts.model_card import RECOMMENDED_FUSION, FusionRules
from services.runtime.segmenter.torchserve_archive import build_archive
from services.runtime.segmenter.torchserve_settings import TorchServeSettings
from tests.system.servers.process import ServerProcess, free_port
from tests.system.servers.provision import require_tool

SHIPPED_MODELS = Path(services.inference.__path__[0]) / "models"
DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "torchserve"
LAUNCHER = Path(sys.executable).parent / "torchserve"


class TorchServeServer:
    """A TorchServe of its own: own ports, own temporary folder (its worker's socket lies there), own logs.

    Parameters
    ----------
    folder
        For everything it writes.
    models_dir
        Published models to serve.
    environment
        Settings besides those of the deployed configuration, such as `FIBSEM_SERVER_THREADS`.
    certificates
        Folder with `server.pem`, `server.key` and the authority's `ca.pem`: inference is spoken to over TLS.
    """

    def __init__(
        self,
        folder: Path,
        models_dir: Path = SHIPPED_MODELS,
        environment: Mapping[str, str] | None = None,
        certificates: Path | None = None,
    ) -> None:
        require_tool("java", "apt-get install openjdk-17-jre-headless")
        require_tool(str(LAUNCHER), "pip install torchserve==0.12.0")
        self._ports = {name: free_port() for name in ("inference", "management", "metrics")}
        self._secured = environment_of(certificates) if certificates else {}
        self.settings = TorchServeSettings(
            url=self._url("inference"), ca_file=certificates / "ca.pem" if certificates else None
        )
        self.metrics_url = self._url("metrics")
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=1.0, read=5.0))
        for name in ("store", "tmp", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._group: int | None = None
        self._models_dir, self._archive = models_dir, folder / "store" / "nucleus.mar"
        self.put_archive()
        self._argv = [
            *(str(LAUNCHER), "--foreground", "--ncs"),
            *("--ts-config", str(DEPLOY / "config.properties"), "--model-store", str(folder / "store")),
        ]
        self.process = ServerProcess(
            self._argv,
            folder / "torchserve.log",
            self.is_ready,
            environment={**self._environment(folder), **self._secured, **(environment or {})},
            patience_s=300.0,
        )

    @property
    def url(self) -> str:
        """Inference address."""
        return self.settings.url

    @property
    def management_url(self) -> str:
        """Management address."""
        return self._url("management")

    @property
    def model_store(self) -> Path:
        """Folder of archives."""
        return self._archive.parent

    def put_archive(self, fusion: FusionRules = RECOMMENDED_FUSION) -> None:
        """Build the archive that is loaded at the next start."""
        build_archive(self._models_dir, self._archive, fusion)

    def start(self, *, wait: bool = True) -> None:
        """Start it, unless it runs; wait until its worker is ready."""
        self.process.start(wait=False)
        self._group = self.process.pid
        if wait:
            self.process.await_ready()

    def stop(self) -> None:
        """Ask it to end, and wait until its launcher and the server have."""
        self.process.stop()
        self._end_group(patience_s=20.0)

    def kill(self) -> None:
        """Take it away at once, with its worker."""
        self.process.kill()
        self._end_group(patience_s=0.0)

    def _end_group(self, patience_s: float) -> None:
        """Wait for what the launcher leaves behind: it ends before the server does, and takes nobody with it."""
        deadline_s = time.monotonic() + patience_s
        while self._group is not None:
            try:
                os.killpg(self._group, signal.SIGKILL if time.monotonic() > deadline_s else 0)
            except ProcessLookupError:
                self._group = None
            else:
                time.sleep(0.05)  # noqa: TID251 (a real server, in real time)

    def is_ready(self) -> bool:
        """Whether its worker has loaded the models."""
        return any(worker["status"] == "READY" for worker in self._workers())

    def worker_pid(self) -> int:
        """Process id of the worker."""
        (worker,) = self._workers()
        return int(worker["pid"])

    def kill_worker(self) -> None:
        """Take the worker away at once."""
        os.kill(self.worker_pid(), signal.SIGKILL)

    def resident_bytes(self) -> int:
        """Memory of the worker."""
        pages = int(Path(f"/proc/{self.worker_pid()}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def await_busy(self) -> None:
        """Wait until its worker computes: half a second on the processor since this was called."""
        spent_s = self._worker_spent_s()
        while self._worker_spent_s() < spent_s + 0.5:
            time.sleep(0.02)  # noqa: TID251 (a real server, in real time)

    def counters(self) -> dict[str, float]:
        """Return the counters of a scrape by name, once its asynchronous log has been read."""
        time.sleep(0.5)  # noqa: TID251 (a real server, in real time)
        text = self._http.request("GET", f"{self.metrics_url}/metrics").data.decode()
        samples = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in samples}

    def _worker_spent_s(self) -> float:
        fields = Path(f"/proc/{self.worker_pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _url(self, name: str) -> str:
        # The management and metrics pages stay on this machine.
        return f"{'https' if self._secured and name == 'inference' else 'http'}://127.0.0.1:{self._ports[name]}"

    def _workers(self) -> list[dict[str, str]]:
        try:
            answer = self._http.request("GET", f"{self._url('management')}/models/{self.settings.model}")
        except urllib3.exceptions.HTTPError:
            return []
        return list(json.loads(answer.data)[0]["workers"]) if answer.status == 200 else []

    def _environment(self, folder: Path) -> dict[str, str]:
        return {
            "TEMP": str(folder / "tmp"),
            "TMPDIR": str(folder / "tmp"),
            "LOG_LOCATION": str(folder / "logs"),
            "METRICS_LOCATION": str(folder / "logs"),
            "TS_METRICS_CONFIG": str(DEPLOY / "metrics.yaml"),
            "TS_GRPC_INFERENCE_PORT": str(free_port()),
            "TS_GRPC_MANAGEMENT_PORT": str(free_port()),
            **{f"TS_{name.upper()}_ADDRESS": self._url(name) for name in self._ports},
        }


def environment_of(certificates: Path) -> dict[str, str]:
    """Return what tells TorchServe its key and certificate."""
    return {
        "TS_PRIVATE_KEY_FILE": str(certificates / "server.key"),
        "TS_CERTIFICATE_FILE": str(certificates / "server.pem"),
    }


@contextmanager
def running_torchserve(
    folder: Path,
    models_dir: Path = SHIPPED_MODELS,
    environment: Mapping[str, str] | None = None,
    certificates: Path | None = None,
) -> Iterator[TorchServeServer]:
    """Run a TorchServe until the end of the block."""
    server = TorchServeServer(folder, models_dir, environment, certificates)
    try:
        server.start()
        yield server
    finally:
        server.kill()
