"""The objects for Kubernetes are valid, closed to the outside, and say the same as docker-compose.yml."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from kubernetes_validate import ValidationError as SchemaError
from kubernetes_validate import latest_version, validate
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from deploy.make_secrets import USERS
from services.contracts.topics import TOPICS_BY_NAME
from services.deployed.stack import BESIDE, GROUPS
from services.runtime.http import WATCH_PORT
from tests.system.servers.kustomize import kustomize

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
HERE = DEPLOY / "kubernetes"
OVERLAYS = ("all-in-one", "site")
OURS = "keda.sh/"
# Where each service of docker-compose.yml is found; several stand elsewhere than under their own name.
SAME_AS = {
    # Rendered before anything is applied.
    "alert-settings": "alertmanager",
    "extract-detect-more": "extract-detect",
    "inference-more": "inference",
    "gpu-exporter": "torchserve",
}
# What the site brings, and git must not have.
BROUGHT = {"kafka.env", "authorities.pem", "alertmanager.yml"}


# ------------------------------------------------------------------------------- KEDA's objects: the fields used here
class Strict(BaseModel):
    """Refuses what it does not know; the names are those of the objects, in camel case."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Metadata(Strict):
    name: str
    namespace: Literal["fibsem"]


class ScaleTarget(Strict):
    api_version: Literal["apps/v1"]
    kind: Literal["StatefulSet"]
    name: str
    env_source_container_name: Literal["service"]


class KafkaLag(Strict):
    bootstrap_servers_from_env: Literal["FIBSEM_KAFKA__BOOTSTRAP"]
    consumer_group: str
    topic: str
    # KEDA takes strings alone here.
    lag_threshold: Annotated[str, Field(pattern=r"^[1-9]\d*$", strict=True)]
    offset_reset_policy: Literal["earliest"]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$", strict=True)]
    sasl: Literal["plaintext"] | None = None
    tls: Literal["enable"] | None = None


class Named(Strict):
    name: str


class Trigger(Strict):
    type: Literal["kafka"]
    metadata: KafkaLag
    authentication_ref: Named | None = None


class ScaledObjectSpec(Strict):
    scale_target_ref: ScaleTarget
    min_replica_count: Annotated[int, Field(ge=1)]
    max_replica_count: Annotated[int, Field(ge=1)]
    polling_interval: Annotated[int, Field(ge=1)]
    advanced: dict[Literal["horizontalPodAutoscalerConfig"], dict[Literal["behavior"], dict[str, Any]]]
    triggers: Annotated[list[Trigger], Field(min_length=1)]


class ScaledObject(Strict):
    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledObjectSpec


class Parameter(Strict):
    parameter: Literal["username", "password", "ca"]
    name: str
    key: str


class TriggerAuthenticationSpec(Strict):
    secret_target_ref: list[Parameter]
    config_map_target_ref: list[Parameter]


class TriggerAuthentication(Strict):
    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["TriggerAuthentication"]
    metadata: Metadata
    spec: TriggerAuthenticationSpec


KEDA: dict[str, type[Strict]] = {"ScaledObject": ScaledObject, "TriggerAuthentication": TriggerAuthentication}


def check(thing: Mapping[str, Any]) -> None:
    """Refuse an object that Kubernetes, or KEDA as far as it is modelled here, would refuse."""
    if thing["apiVersion"].startswith(OURS):
        KEDA[thing["kind"]].model_validate(thing)
    else:
        validate(dict(thing), latest_version(), strict=True)


# ------------------------------------------------------------------------------------------------------ what is there
def documents(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, those of a list one by one."""
    for document in yaml.safe_load_all(path.read_text()):
        yield from document["items"] if document["kind"] == "List" else (document,)


@cache
def kustomizations() -> dict[Path, dict[str, Any]]:
    """Return every kustomization by its file."""
    return {path: yaml.safe_load(path.read_text()) for path in sorted(DEPLOY.rglob("kustomization.yaml"))}


@cache
def objects() -> tuple[tuple[Path, dict[str, Any]], ...]:
    """Return every object that a kustomization names as a resource, with its file."""
    files = [
        path.parent / resource
        for path, content in kustomizations().items()
        for resource in content.get("resources", ())
        if (path.parent / resource).is_file()
    ]
    return tuple((file, thing) for file in files for thing in documents(file))


def of(*kinds: str) -> list[dict[str, Any]]:
    return [thing for _, thing in objects() if thing["kind"] in kinds]


def pods() -> list[tuple[str, dict[str, Any]]]:
    return [
        (thing["metadata"]["name"], thing["spec"]["template"]["spec"])
        for thing in of("StatefulSet", "Deployment", "Job")
    ]


def added_by_patches() -> list[dict[str, Any]]:
    """Return the containers that the GPU's patch adds to the model server, and what it changes of the one there."""
    patch = yaml.safe_load((HERE / "components/gpu/torchserve.yaml").read_text())
    return [part for part in patch["spec"]["template"]["spec"]["containers"] if "image" in part]


def containers() -> list[dict[str, Any]]:
    return [container for _, pod in pods() for container in pod["containers"]] + added_by_patches()


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    return content


def defaults(text: str) -> str:
    """Put the default of every variable in its place."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


# -------------------------------------------------------------------------------------------------------------- tests
def test_every_object_is_valid() -> None:
    assert len(objects()) > 40
    for file, thing in objects():
        try:
            check(thing)
        except (SchemaError, ValidationError) as error:
            pytest.fail(f"{file.relative_to(DEPLOY)}: {thing['kind']} {thing['metadata']['name']}: {error}")


def test_a_misspelt_field_is_refused() -> None:
    budget = of("PodDisruptionBudget")[0]
    with pytest.raises(SchemaError, match="maxUnavailabel"):
        check({**budget, "spec": {"maxUnavailabel": 1}})
    scaled = of("ScaledObject")[0]
    with pytest.raises(ValidationError, match="maxReplicas"):
        check({**scaled, "spec": {**scaled["spec"], "maxReplicas": 8}})


def test_a_threshold_that_is_no_text_is_refused() -> None:
    lag = of("ScaledObject")[0]["spec"]["triggers"][0]["metadata"]
    with pytest.raises(ValidationError):
        KafkaLag.model_validate({**lag, "lagThreshold": 5})


def test_every_file_is_part_of_something_and_what_is_named_exists() -> None:
    named = set()
    for path, content in kustomizations().items():
        entries = [*content.get("resources", ()), *content.get("components", ())]
        entries += [patch["path"] for patch in content.get("patches", ()) if "path" in patch]
        for generator in (*content.get("configMapGenerator", ()), *content.get("secretGenerator", ())):
            entries += [*generator.get("files", ()), *generator.get("envs", ())]
        for entry in entries:
            target = (path.parent / entry).resolve()
            named.add(target)
            is_secret = target.parent == HERE / "secrets"
            assert target.exists() or is_secret or target.name in BROUGHT, f"{path}: {entry} is not there"
    files = {file for file in HERE.rglob("*.yaml") if file.name != "kustomization.yaml"}
    assert files <= named


def test_what_the_site_brings_stays_out_of_git() -> None:
    ignored = (HERE / ".gitignore").read_text().split()
    assert {Path(line).name for line in ignored} >= BROUGHT | {"*.env"}


def test_services_are_those_of_compose() -> None:
    here = {name for name, _ in pods()}
    assert {SAME_AS.get(name, name) for name in compose()["services"]} == here


def test_services_run_what_they_run_in_compose() -> None:
    described = compose()["services"]
    commands = {name: pod["containers"][0].get("command") for name, pod in pods()}
    for name in ("ingest", *GROUPS, *BESIDE, "setup"):
        assert commands[name] == described[name]["command"], name


def test_images_are_those_of_compose_and_pinned() -> None:
    allowed = {defaults(service["image"]) for service in compose()["services"].values()}
    used = {container["image"] for container in containers()}
    assert used <= allowed
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in used), used


def test_every_container_is_confined() -> None:
    for name, pod in pods():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["serviceAccountName"] == "fibsem", name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert all("hostPath" not in volume for volume in pod["volumes"]), name
        assert any(volume["name"] == "tmp" and "emptyDir" in volume for volume in pod["volumes"]), name
    for container in containers():
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True, container["name"]
        assert security["allowPrivilegeEscalation"] is False, container["name"]
        assert security["capabilities"] == {"drop": ["ALL"]}, container["name"]
        assert container["resources"].keys() == {"requests", "limits"}, container["name"]


def test_nothing_is_published() -> None:
    assert not of("Ingress", "Gateway", "HTTPRoute")
    assert all(service["spec"].get("type", "ClusterIP") == "ClusterIP" for service in of("Service"))
    ports = [port for container in containers() for port in container.get("ports", ())]
    assert all("hostPort" not in port for port in ports)


def test_what_turns_is_watched_where_services_are_watched() -> None:
    for name, pod in pods():
        container = pod["containers"][0]
        if name not in ("ingest", *GROUPS, *BESIDE):
            continue
        assert container["ports"] == [{"name": "watch", "containerPort": WATCH_PORT}], name
        assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "watch"}, name
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "watch"}, name
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "watch"}, name


def test_consumers_keep_their_names() -> None:
    kinds = {thing["metadata"]["name"]: thing for thing in of("StatefulSet", "Deployment", "Job")}
    for name in ("ingest", *GROUPS, *BESIDE):
        assert kinds[name]["kind"] == "StatefulSet", name
        (member,) = (
            entry
            for entry in kinds[name]["spec"]["template"]["spec"]["containers"][0]["env"]
            if entry["name"] == "FIBSEM_MEMBER"
        )
        assert member["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_selectors_choose_the_pods_they_mean() -> None:
    labels = {
        thing["metadata"]["name"]: thing["spec"]["template"]["metadata"]["labels"]
        for thing in of("StatefulSet", "Deployment")
    }
    for thing in of("StatefulSet", "Deployment"):
        assert thing["spec"]["selector"]["matchLabels"].items() <= labels[thing["metadata"]["name"]].items()
        for spread in thing["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert spread["labelSelector"]["matchLabels"] == thing["spec"]["selector"]["matchLabels"]
    for thing in of("PodDisruptionBudget", "Service"):
        selector = thing["spec"]["selector"]
        chosen = selector.get("matchLabels", selector)
        assert any(chosen.items() <= pod.items() for pod in labels.values()), thing["metadata"]["name"]
    budgets = {thing["metadata"]["name"] for thing in of("PodDisruptionBudget")}
    assert budgets == {"ingest", "torchserve", *GROUPS}


def test_every_consumer_is_scaled_by_what_it_reads_and_no_further_than_there_are_partitions() -> None:
    scaled = {thing["metadata"]["name"]: thing["spec"] for thing in of("ScaledObject")}
    assert scaled.keys() == GROUPS.keys()
    for name, spec in scaled.items():
        assert spec["scaleTargetRef"]["name"] == name
        triggers = [trigger["metadata"] for trigger in spec["triggers"]]
        assert {trigger["consumerGroup"] for trigger in triggers} == {name}
        assert tuple(trigger["topic"] for trigger in triggers) == GROUPS[name]
        assert spec["maxReplicaCount"] <= min(TOPICS_BY_NAME[topic].partitions for topic in GROUPS[name])


def test_each_service_has_a_secret_of_its_own() -> None:
    generated = kustomizations()[HERE / "secrets" / "kustomization.yaml"]["secretGenerator"]
    names = {entry["name"]: entry["envs"] for entry in generated}
    assert names == {name: [f"{name}.env"] for name in (*USERS, "setup", "minio", "grafana")}
    for name, pod in pods():
        for container in pod["containers"]:
            secrets = {source["secretRef"]["name"] for source in container.get("envFrom", ()) if "secretRef" in source}
            own = {"operate": "operator"}.get(name, name)
            assert secrets - {"kafka"} <= {own}, name


def admitted(to: str, port: int) -> set[str]:
    """Return the names of the workloads whose pods the policies let in to a workload's port."""
    labels = {name: thing["spec"]["template"]["metadata"]["labels"] for name, thing in workloads().items()}
    return {
        name
        for name, own in labels.items()
        for policy in of("NetworkPolicy")
        for rule in policy["spec"].get("ingress", ())
        if chooses(policy["spec"]["podSelector"], labels[to])
        and port in {entry["port"] for entry in rule["ports"]}
        and any(chooses(source["podSelector"], own) for source in rule["from"] if "podSelector" in source)
    }


def chooses(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def workloads() -> dict[str, dict[str, Any]]:
    return {thing["metadata"]["name"]: thing for thing in of("StatefulSet", "Deployment", "Job")}


def test_nobody_but_who_must_reaches_the_servers() -> None:
    ours = {"ingest", "setup", "operate", *GROUPS, *BESIDE}
    assert admitted("torchserve", 8080) == {"inference", "shadow"}
    assert admitted("torchserve", 8082) == {"prometheus"}
    assert admitted("kafka", 9092) == ours | {"kafka"}
    assert admitted("kafka", 9093) == {"kafka"}
    assert admitted("minio", 9000) == ours | {"torchserve"}
    assert admitted("grafana", 3000) == set()
    nothing = next(policy for policy in of("NetworkPolicy") if policy["metadata"]["name"] == "nothing")
    assert nothing["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_other_namespaces_are_let_in_by_name_alone() -> None:
    opened = [
        source["namespaceSelector"].get("matchLabels")
        for policy in of("NetworkPolicy")
        for rule in policy["spec"].get("ingress", ())
        for source in rule["from"]
        if "namespaceSelector" in source
    ]
    assert all(opened)


def test_the_files_of_the_servers_are_all_taken_along() -> None:
    def taken(folder: str) -> set[str]:
        generators = kustomizations()[DEPLOY / folder / "kustomization.yaml"]["configMapGenerator"]
        return {file for generator in generators for file in generator["files"]}

    rules = {f"rules/{path.name}" for path in (DEPLOY / "prometheus" / "rules").glob("*.yml")}
    assert taken("prometheus") == {"prometheus.yml", *rules}
    pages = {f"dashboards/{path.name}" for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
    assert taken("grafana") >= pages


# ----------------------------------------------------------------------------- with Kustomize itself: pytest -m system
def prepared(folder: Path) -> Path:
    """Return a copy of deploy/ with everything that a site brings."""
    copy = folder / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns(".secrets", "__pycache__", "*.env.bak"))
    subprocess.run([sys.executable, copy / "make_secrets.py"], check=True, capture_output=True)
    for secret in (copy / ".secrets").glob("*.env"):
        shutil.copy(secret, copy / "kubernetes" / "secrets")
    alerts: list[str | Path] = [
        sys.executable,
        copy / "alertmanager" / "render.py",
        copy / "kubernetes" / "monitoring" / "alertmanager.yml",
    ]
    subprocess.run(alerts, check=True, capture_output=True)
    site = copy / "kubernetes" / "overlays" / "site"
    (site / "kafka.env").write_text("FIBSEM_KAFKA__USER=u\nFIBSEM_KAFKA__PASSWORD=p\n")
    (site / "authorities.pem").write_text("none\n")
    return copy / "kubernetes" / "overlays"


@pytest.mark.system
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_composed_of_valid_objects_that_name_one_another(overlay: str, tmp_path: Path) -> None:
    overlays = prepared(tmp_path)
    composed = subprocess.run(
        [*kustomize(), overlays / overlay], check=True, capture_output=True, text=True, timeout=300
    ).stdout
    things = list(yaml.safe_load_all(composed))
    for thing in things:
        check(thing)
    names = {(thing["kind"], thing["metadata"]["name"]) for thing in things}
    assert len(names) == len(things)
    for kind, name in references(things):
        assert (kind, name) in names or name == "kafka", f"{kind} {name} is named and not there"


def references(things: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield what pods take their environment and files from, and what is scaled."""
    for thing in things:
        if thing["kind"] == "ScaledObject":
            yield "StatefulSet", thing["spec"]["scaleTargetRef"]["name"]
        elif thing["kind"] in ("StatefulSet", "Deployment", "Job"):
            pod = thing["spec"]["template"]["spec"]
            for container in pod["containers"]:
                yield from map(source_of, container.get("envFrom", ()))
            for volume in pod["volumes"]:
                yield from map(source_of, (volume, *volume.get("projected", {}).get("sources", ())))


def source_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return kind and name of what an entry of `envFrom` or `volumes` stands for; an account, for what is none."""
    kinds = {
        "configMapRef": ("ConfigMap", "name"),
        "secretRef": ("Secret", "name"),
        "configMap": ("ConfigMap", "name"),
        "secret": ("Secret", "secretName"),
        "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    }
    for key, (kind, name) in kinds.items():
        if key in entry:
            return kind, entry[key][name]
    return "ServiceAccount", "fibsem"
