"""Alertmanager's configuration follows from the settings, and what is not set is not sent."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.alertmanager.render import AlertSettings, configuration, write
from tests.support.alerting import EVERYTHING

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "alertmanager" / "render.py"


def receivers(settings: AlertSettings) -> dict[str, Any]:
    return {receiver["name"]: receiver for receiver in configuration(settings)["receivers"]}


def test_people_get_mail_and_chat_and_the_dead_man_gets_the_watchdog_alone() -> None:
    found = receivers(EVERYTHING)
    for name in ("operators", "pages"):
        assert found[name]["email_configs"][0]["to"] == "em@example.org"
        assert found[name]["slack_configs"][0]["api_url"] == "https://chat.example.org/hooks/1"
    assert found["dead-man"].keys() == {"name", "webhook_configs"}
    watchdog = configuration(EVERYTHING)["route"]["routes"][0]
    assert watchdog["matchers"] == ['alertname="Watchdog"']
    assert watchdog["receiver"] == "dead-man"


def test_without_settings_nothing_is_sent() -> None:
    assert [receiver.keys() for receiver in receivers(AlertSettings()).values()] == [{"name"}] * 3


def test_a_mail_server_alone_sends_no_mail_to_nobody() -> None:
    assert "email_configs" not in receivers(AlertSettings(smtp="mail.example.org:25"))["operators"]


def test_every_route_leads_to_a_receiver() -> None:
    route = configuration(EVERYTHING)["route"]
    assert {route["receiver"], *(branch["receiver"] for branch in route["routes"])} == set(receivers(EVERYTHING))


def test_a_password_stays_whole_and_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    write(configuration(EVERYTHING), file)
    write(configuration(EVERYTHING), file)
    mail = json.loads(file.read_text())["receivers"][0]["email_configs"][0]
    assert mail["auth_password"] == 'it\'s "quoted": {yes}\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_script_reads_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    environment = {**os.environ, "FIBSEM_ALERTS_CHAT_WEBHOOK": "https://chat.example.org/hooks/2"}  # noqa: TID251
    subprocess.run([sys.executable, SCRIPT, file], env=environment, check=True)
    assert json.loads(file.read_text())["receivers"][1]["slack_configs"][0]["api_url"].endswith("/hooks/2")


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "FIBSEM_ALERTS_SMTP_TLS": "perhaps"}  # noqa: TID251 (handed on, not read)
    argv = [sys.executable, str(SCRIPT), str(tmp_path / "x.yml")]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "smtp_tls" in done.stderr
