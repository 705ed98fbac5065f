"""A real Apache Kafka broker: one KRaft node from Maven's jars, for tests to stop, freeze, wipe and start again."""

from __future__ import annotations

import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.servers.process import ServerProcess, free_port
from tests.system.servers.provision import Addresses, built, copied_from_image, require_tool, run

VERSION = "4.1.1"
IMAGE = f"apache/kafka:{VERSION}"
CLUSTER_ID = "ZmlidGVzdC1jbHVzdGVyMQ"
USER = "fibsem"

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>fibsem</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.3</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.25.3</version>
    </dependency>
  </dependencies>
</project>
"""

LOGGING = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
"""

# Short times where the default only makes tests wait; durability as a single node needs it.
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
listeners=CLIENT://127.0.0.1:{port},INTERNAL://127.0.0.1:{internal_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENT://{host}:{port},INTERNAL://127.0.0.1:{internal_port}
listener.security.protocol.map=CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
offsets.retention.minutes=129600
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.flush.interval.messages=1
log.segment.bytes=16777216
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=2
num.io.threads=4
"""

SECURITY = """listener.name.client.ssl.keystore.type=PEM
listener.name.client.ssl.keystore.location={keystore}
listener.name.client.sasl.enabled.mechanisms=PLAIN
listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
"""


@dataclass(frozen=True, slots=True)
class Security:
    """What a broker needs to speak SASL_SSL.

    Attributes
    ----------
    keystore
        Private key and certificate chain, PEM, in one file.
    password
        Of the one user, `USER`.
    """

    keystore: Path
    password: str


def kafka_home() -> Path:
    """Return the folder with the broker's jars, in `libs`."""
    return built(f"kafka-{VERSION}", _provide)


def _provide(folder: Path) -> None:
    if copied_from_image(IMAGE, "/opt/kafka/libs", folder):
        return
    maven = require_tool("mvn", "install maven and a Java runtime (17 or later), or set FIBSEM_TEST_KAFKA")
    (folder / "pom.xml").write_text(POM)
    run([maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"], folder)


def _answers(port: int) -> bool:
    """Whether a broker answers an ApiVersions request: an open port alone is no broker yet."""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.settimeout(1.0)
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(4)) == 4
    except OSError:
        return False


class KafkaServer:
    """One broker.

    Parameters
    ----------
    folder
        For its settings, log and data.
    security
        Makes the clients' listener SASL_SSL; None leaves it plain.
    """

    def __init__(self, folder: Path, security: Security | None = None) -> None:
        self._folder = folder
        self._security = security
        self._java = require_tool("java", "install a Java runtime (17 or later), or set FIBSEM_TEST_KAFKA")
        self._home = kafka_home()
        self._port, self._internal_port, controller_port = (free_port() for _ in range(3))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log4j2.properties").write_text(LOGGING)
        self._settings = folder / "server.properties"
        self._settings.write_text(self._properties(controller_port))
        self.process = ServerProcess(self._argv("kafka.Kafka"), folder / "kafka.log", self._is_ready)

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"{self._host}:{self._port}"

    def start(self) -> None:
        """Start it, on what it stored before if there is anything, and wait until it answers."""
        if not (self._folder / "data" / "meta.properties").exists():
            self._format()
        self.process.start()

    def stop(self) -> None:
        """End it in an orderly way."""
        self.process.stop()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def freeze(self) -> None:
        """Let connections stay open and nobody answer."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self.process.thaw()

    def wipe(self) -> None:
        """Lose every topic, record and offset, as a lost volume does; it is started again at the same address."""
        self.process.kill()
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        self.start()

    @property
    def _host(self) -> str:
        # Certificates name hosts, not addresses.
        return "localhost" if self._security else "127.0.0.1"

    def _is_ready(self) -> bool:
        return _answers(self._internal_port)

    def _properties(self, controller_port: int) -> str:
        text = PROPERTIES.format(
            controller_port=controller_port,
            port=self._port,
            internal_port=self._internal_port,
            host=self._host,
            protocol="SASL_SSL" if self._security else "PLAINTEXT",
            logs=self._folder / "data",
        )
        if self._security is None:
            return text
        return text + SECURITY.format(keystore=self._security.keystore, user=USER, password=self._security.password)

    def _argv(self, *arguments: str) -> list[str]:
        return [
            self._java, "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}",
            "-cp", f"{self._home / 'libs'}/*", *arguments, str(self._settings),
        ]  # fmt: skip

    def _format(self) -> None:
        run(self._argv("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"), self._folder, patience_s=60.0)


@contextmanager
def running_kafka(folder: Path, security: Security | None = None) -> Iterator[KafkaServer]:
    """Give a broker that answers; it is stopped at the end, also when a test fails.

    Tests that only talk to a broker ask `given_kafka` first.
    """
    server = KafkaServer(folder, security)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def given_kafka() -> str | None:
    """Return the address of a broker that the environment names, or None."""
    return Addresses().kafka


def make_authority(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Make a certificate authority and a server certificate it signed; return the CA file and the keystore."""
    openssl = require_tool("openssl", "install openssl")
    folder.mkdir(parents=True, exist_ok=True)
    new = [openssl, "req", "-newkey", "rsa:2048", "-nodes", "-sha256"]
    subject = ["-subj", f"/CN=authority of {folder.name}"]
    run([*new, "-x509", "-days", "2", *subject, "-keyout", "ca.key", "-out", "ca.pem"], folder)
    run([*new, "-subj", f"/CN={name}", "-keyout", "server.key", "-out", "server.csr"], folder)
    (folder / "names").write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1\n")
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    run([openssl, "x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem"], folder)
    keystore = folder / "keystore.pem"
    keystore.write_text("".join((folder / part).read_text() for part in ("server.key", "server.pem", "ca.pem")))
    return folder / "ca.pem", keystore
