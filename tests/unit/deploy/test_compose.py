"""docker-compose.yml and the Swarm stack agree, publish Grafana alone, and hold no secrets and no misspelt settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings

from deploy.alertmanager.render import AlertSettings
from deploy.make_secrets import USERS, files, make
from services.contracts.method import Method
from services.contracts.values import Identifier, VoxelSize
from services.deployed.__main__ import SetUpDeployment
from services.deployed.stack import GROUPS
from services.ingest.__main__ import IngestDeployment
from services.ingest.settings import AcquisitionSettings
from services.runtime.deployment import Deployment
from services.runtime.devices import DeviceSettings
from services.runtime.segmenter.torchserve_keeper import KeeperSettings
from services.runtime.segmenter.torchserve_settings import ServerSettings
from services.trainer.settings import TrainerDeployment

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE = ("docker-compose.yml", "deploy/docker-compose.local.yml", "deploy/docker-compose.gpu.yml")
SWARM = ("deploy/swarm.yml", "deploy/swarm.gpu.yml")
SETTINGS: tuple[type[BaseSettings], ...] = (
    Deployment, IngestDeployment, SetUpDeployment, TrainerDeployment, DeviceSettings, ServerSettings, KeeperSettings,
    AlertSettings,
)  # fmt: skip
VARIABLE = re.compile(r"(?<![A-Z_])FIBSEM_[A-Za-z0-9_]+")
# Their images say of themselves that they run as nobody, or as Grafana's own user.
NOT_ROOT_BY_THEMSELVES = ("prom/prometheus:", "prom/alertmanager:", "grafana/grafana:")
# What is not part of the stack: run once by swarm.sh, or more of the same.
BESIDE_THE_STACK = {
    "grafana", "operate", "microscope", "alert-settings", "extract-detect-more", "inference-more", "gpu-exporter",
    "trainer", "shadow",
}  # fmt: skip
# Keys that Swarm does not know, or passes over in silence.
NOT_IN_SWARM = {
    "build",
    "depends_on",
    "network_mode",
    "ports",
    "profiles",
    "restart",
    "security_opt",
    "shm_size",
    "tmpfs",
}
SAYS_A_SECRET = re.compile(
    r"(?i)(pass(word|wd)?|secret_?key|token|api_?key)[\"']?\s*[=:]\s*[\"']?(?!(true|false)\b)[^\s\"',}{$]{4,}"
)


def defaults(text: str) -> str:
    """Put the default of every variable in its place, from the innermost one outwards."""
    while (put := re.sub(r"\$\{[A-Z_0-9]+:-([^${}]*)\}", r"\1", text)) != text:
        text = put
    return text


def services(file: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(defaults((ROOT / file).read_text()))["services"]
    return found


COMPOSED, STACK = services("docker-compose.yml"), services("deploy/swarm.yml")
WHOLE = [*COMPOSED.items(), *STACK.items()]


def committed() -> Iterator[Path]:
    """Yield the text files of a deployment that are in git, or will be."""
    yield from (ROOT / file for file in ("docker-compose.yml", "Makefile"))
    for path in sorted(DEPLOY.rglob("*")):
        hidden = any(part in (".secrets", "__pycache__") for part in path.relative_to(DEPLOY).parts)
        brought = path.parent == DEPLOY / "kubernetes" / "secrets" and path.suffix == ".env"
        if path.is_file() and not hidden and not brought:
            yield path


def text_of(path: Path) -> str:
    return path.read_text(errors="ignore")


def variables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the variables that a model of settings reads; a name that ends in `__` stands for any key of a mapping."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable
        kinds = [field.annotation, *get_args(field.annotation)]
        if dict in [getattr(kind, "__origin__", None) for kind in kinds]:
            yield f"{variable}__"
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from variables(kind, f"{variable}__")


KNOWN = {
    variable for settings in SETTINGS for variable in variables(settings, str(settings.model_config.get("env_prefix")))
}


def is_real(variable: str) -> bool:
    """Whether a service reads it; a beginning of names, as prose says it, counts where names begin so."""
    if variable.endswith("_"):
        return any(known.startswith(variable) for known in KNOWN)
    return variable in KNOWN or any(known.endswith("__") and variable.startswith(known) for known in KNOWN)


# ----------------------------------------------------------------------------------------------------------- settings
def test_every_variable_of_ours_is_a_setting() -> None:
    named = {(str(path), variable) for path in committed() for variable in VARIABLE.findall(text_of(path))}
    assert len(named) > 50
    assert {(path, variable) for path, variable in named if not is_real(variable)} == set()


def test_a_misspelt_variable_would_be_found() -> None:
    assert is_real("FIBSEM_KAFKA__BOOTSTRAP")
    assert is_real("FIBSEM_USERS__ingest")
    assert not is_real("FIBSEM_KAFKA__BOOTSTRAP_SERVERS")
    assert not is_real("FIBSEM_KAFKA_BOOTSTRAP")
    assert not is_real("FIBSEM_METHODS__")


def test_what_compose_says_makes_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**COMPOSED["ingest"]["environment"], **dict(secrets_of("ingest.env"))}.items():
        monkeypatch.setenv(name, str(value))
    settings = IngestDeployment()
    assert settings.acquisition == "live"
    assert settings.voxel_size == VoxelSize(z_nm=16, y_nm=16, x_nm=16)
    monkeypatch.setenv("FIBSEM_KAFKA__BOOTSTRAP_SERVERS", "kafka:9092")
    with pytest.raises(ValidationError, match="bootstrap_servers"):
        IngestDeployment()


def environment_of(file: str, **said: str) -> dict[str, str]:
    """Return what a file's ingest is told by somebody whose `.env` says some variables."""
    text = re.sub(
        r"\$\{([A-Z_0-9]+):-([^}]*)\}", lambda found: said.get(found[1]) or found[2], (ROOT / file).read_text()
    )
    told = yaml.safe_load(text)["services"]["ingest"]["environment"].items()
    # Swarm fills in the name of the replica by itself.
    return {name: str(value) for name, value in told if name != "FIBSEM_MEMBER"}


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/swarm.yml"])
def test_whatever_a_local_run_is_told_can_be_told_to_compose(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = {f"FIBSEM_METHOD__{name.upper()}" for name in Method.model_fields}
    acquisition = {f"FIBSEM_{name.upper()}" for name in AcquisitionSettings.model_fields}
    assert method | acquisition <= environment_of(file).keys()
    wanted = {
        "REGISTRATION": "affine", "REGISTRATION_TREND": "zero", "REPAIR": "gain,destripe", "NUCLEUS_AREA_UM2": "4.8,30",
        "SLICE_THICKNESS": "measured", "CHANNEL": "1", "METADATA": "ignore", "DATA_BAR_PX": "64", "LAST_Z": "900",
        "KEEP_FLAGS": "/data/flags", "GAP_TIMEOUT_S": "3600",
    }  # fmt: skip
    environment = environment_of(file, **wanted)
    for name, value in {**environment, **dict(secrets_of("ingest.env"))}.items():
        monkeypatch.setenv(name, value)
    settings = IngestDeployment()
    assert settings.method == Method(
        registration="affine",
        registration_trend="zero",
        repair=("destripe", "gain"),
        nucleus_area_um2=(4.8, 30.0),
        slice_thickness="measured",
    )
    assert (settings.channel, settings.metadata, settings.data_bar_px, settings.last_z) == (1, "ignore", 64, 900)
    assert (settings.keep_flags, settings.gap_timeout_s) == (Path("/data/flags"), 3600.0)


def test_what_is_left_empty_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environment_of("docker-compose.yml"), **dict(secrets_of("ingest.env"))}.items():
        monkeypatch.setenv(name, value)
    settings = IngestDeployment()
    assert settings.method == Method()
    assert {name for name in AcquisitionSettings.model_fields if getattr(settings, name) is None} == {
        "file_pattern", "include", "channel", "data_bar_px", "keep_flags", "first_z", "last_z", "gap_timeout_s",
    }  # fmt: skip
    assert (settings.metadata, settings.contrast) == ("check", "as-is")


def secrets_of(name: str) -> list[tuple[str, str]]:
    return secrets_in(files()[name])


def secrets_in(text: str) -> list[tuple[str, str]]:
    return [(line.split("=", 1)[0], line.split("=", 1)[1]) for line in text.split()]


# ----------------------------------------------------------------------------------------------- images, users, ports
def test_every_image_is_pinned() -> None:
    for file in (*COMPOSE, *SWARM):
        for name, service in services(file).items():
            if image := service.get("image"):
                assert re.search(r":v?\d+\.\d+\.\d+$", image), f"{file}: {name} runs {image}"


@pytest.mark.parametrize(("name", "service"), WHOLE)
def test_every_container_is_confined(name: str, service: dict[str, Any]) -> None:
    assert service["read_only"] is True, name
    assert service["cap_drop"] == ["ALL"], name
    assert {"privileged", "cap_add", "devices", "pid", "ipc"}.isdisjoint(service), name
    is_ours = service["image"].startswith("fibsem-nuclei/")
    user = str(service.get("user", ""))
    assert is_ours or service["image"].startswith(NOT_ROOT_BY_THEMSELVES) or user, f"{name} may run as root"
    assert not user.startswith(("0", "root")), name


def test_our_images_end_as_a_user_who_is_nobody() -> None:
    stages = re.split(r"^FROM .* AS ", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    users = {stage.split()[0]: re.findall(r"^USER (\S+)", stage, flags=re.MULTILINE) for stage in stages}
    run = {service.get("build", {}).get("target") for file in COMPOSE for service in services(file).values()} - {None}
    assert {"services", "torchserve", "minio"} <= run
    for target in run:
        assert users[target][-1:] == ["fibsem"], target


def test_containers_of_compose_gain_no_rights() -> None:
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in COMPOSED.values())


def test_only_grafana_is_published_and_only_to_this_machine() -> None:
    published = {
        (file, name): service["ports"]
        for file in (*COMPOSE, *SWARM)
        for name, service in services(file).items()
        if "ports" in service
    }
    assert published == {("docker-compose.yml", "grafana"): ["127.0.0.1:3000:3000"]}
    script = (DEPLOY / "swarm.sh").read_text()
    assert re.findall(r"(?:-p|--publish) (\S+)", script) == ['"${BIND:-127.0.0.1}:${GRAFANA_PORT:-3000}:3000"']
    assert not re.search(r"--net(work)?[ =]host", script)


def test_the_network_of_the_servers_has_no_way_out() -> None:
    for file in ("docker-compose.yml", "deploy/swarm.yml"):
        content = yaml.safe_load((ROOT / file).read_text())
        assert content["networks"]["inside"]["internal"] is True
        outside = {name for name, service in content["services"].items() if "outside" in service.get("networks", ())}
        assert outside <= {"grafana", "alertmanager"}


# -------------------------------------------------------------------------------------------------------- no secrets
def test_no_secret_is_committed() -> None:
    # Prose shows what a secret looks like; code makes them.
    texts = [path for path in committed() if path.suffix not in (".md", ".json", ".py")]
    lines = [(str(path), line) for path in texts for line in text_of(path).splitlines()]
    assert len(lines) > 500
    assert [found for found in lines if SAYS_A_SECRET.search(found[1].split("#")[0])] == []


def test_a_password_in_a_file_would_be_found() -> None:
    assert SAYS_A_SECRET.search("      MINIO_ROOT_PASSWORD: minioadmin")
    assert SAYS_A_SECRET.search('FIBSEM_S3__SECRET_KEY="abcd1234"')
    assert not SAYS_A_SECRET.search("      MINIO_ROOT_PASSWORD: ${MINIO_PASSWORD}")


def test_each_service_gets_its_own_secrets_and_no_others() -> None:
    for found, folder in ((COMPOSED, "deploy/.secrets/"), (STACK, ".secrets/")):
        for name in ("minio", "setup", *USERS):
            service = found.get("operate" if name == "operator" else name)
            if service is not None:
                assert service["env_file"] == [f"{folder}{name}.env"], name
    assert files().keys() == {"minio.env", "setup.env", "grafana.env", *(f"{name}.env" for name in USERS)}


def test_a_newer_release_adds_the_secrets_of_what_it_brings_and_leaves_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert "grafana.env" in make(folder)
    assert make(folder) == ""
    before = {path.name: path.read_text() for path in folder.iterdir()}
    (folder / "trainer.env").unlink()
    (folder / "setup.env").write_text(
        before["setup.env"].replace(dict(secrets_in(before["setup.env"]))["FIBSEM_USERS__trainer"], "gone")
    )
    assert "trainer" in make(folder)
    after = {path.name: path.read_text() for path in folder.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"trainer.env", "setup.env"}
    key = dict(secrets_in(after["trainer.env"]))["FIBSEM_S3__SECRET_KEY"]
    assert dict(secrets_in(after["setup.env"]))["FIBSEM_USERS__trainer"] == key
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


# -------------------------------------------------------------------------------------------------------------- swarm
def test_the_stack_is_compose_without_what_runs_beside_it() -> None:
    assert STACK.keys() == COMPOSED.keys() - BESIDE_THE_STACK


@pytest.mark.parametrize("name", sorted(STACK))
def test_the_stack_runs_what_compose_runs(name: str) -> None:
    here, there = STACK[name], COMPOSED[name]
    assert here["image"] == there["image"]
    assert here.get("command") == there.get("command")
    assert here.get("healthcheck") == there.get("healthcheck")
    settings = {key: value for key, value in here.get("environment", {}).items() if key != "FIBSEM_MEMBER"}
    assert settings == {key: value for key, value in there.get("environment", {}).items() if key != "FIBSEM_MEMBER"}


@pytest.mark.parametrize(("name", "service"), STACK.items())
def test_the_stack_says_nothing_that_swarm_passes_over(name: str, service: dict[str, Any]) -> None:
    assert NOT_IN_SWARM.isdisjoint(service), name
    deploy = service["deploy"]
    # Kernels without IP_VS, and Prometheus, need an address per replica.
    assert deploy["endpoint_mode"] == "dnsrr"
    for change in ("update_config", "rollback_config"):
        # Two containers under one name would put each other out of the group.
        assert deploy[change]["order"] == "stop-first"
    assert deploy["restart_policy"]["condition"] == ("on-failure" if name == "setup" else "any")
    assert {"cpus", "memory"} == deploy["resources"]["limits"].keys()
    # A volume is a node's own: what has one may not move.
    has_one = any(isinstance(volume, str) for volume in service.get("volumes", ()))
    assert ("placement" in deploy) is has_one


def test_replicas_have_lasting_names_that_the_bus_takes() -> None:
    for name in ("ingest", *GROUPS):
        template = STACK[name]["environment"]["FIBSEM_MEMBER"]
        assert "{{.Service.Name}}" in template
        assert "{{.Task.Slot}}" in template
        member = template.replace("{{.Service.Name}}", f"fibsem_{name}").replace("{{.Task.Slot}}", "3")
        assert TypeAdapter(Identifier).validate_python(member) == f"fibsem_{name}-3"


def test_plain_containers_can_join_the_stack() -> None:
    networks = yaml.safe_load((DEPLOY / "swarm.yml").read_text())["networks"]
    assert all(network["driver"] == "overlay" and network["attachable"] for network in networks.values())


def test_files_of_the_stack_exist_and_change_their_names_with_their_content() -> None:
    text = (DEPLOY / "swarm.yml").read_text()
    content = yaml.safe_load(defaults(text))
    for entry in (*content["configs"].values(), *content["secrets"].values()):
        assert (DEPLOY / entry["file"]).exists()
    named = re.findall(r"name: \"(fibsem-[^\"]*)\"", text)
    assert len(named) == len(content["configs"]) + len(content["secrets"])
    assert all(name.endswith("${CONFIG:-1}") for name in named)
    rules = {f"prometheus/rules/{path.name}" for path in (DEPLOY / "prometheus" / "rules").glob("*.yml")}
    assert rules <= {entry["file"] for entry in content["configs"].values()}
