"""Write Alertmanager's configuration from the settings: ``python deploy/alertmanager/render.py FILE``.

An init job does this when the stack starts, since Alertmanager reads neither its environment nor, for all of its
settings, files of secrets. What is not set is not sent: without any receiver the alerts show on the page alone. The
configuration is JSON, which is YAML, so that no password can break out of its quotes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS = Path("/run/secrets")

CHAT_TEXT = (
    "{{ range .Alerts }}*{{ .Annotations.summary }}*\n{{ .Annotations.description }}\n"
    "{{ .Annotations.runbook_url }}\n{{ end }}"
)


class AlertSettings(BaseSettings):
    """Where alerts go; a variable `FIBSEM_ALERTS_<NAME>`, or a file of that name among the secrets."""

    model_config = SettingsConfigDict(env_prefix="FIBSEM_ALERTS_", frozen=True, extra="ignore")

    smtp: str | None = Field(default=None, description="host:port of the mail server")
    smtp_user: str | None = Field(default=None, description="account at the mail server, if it asks for one")
    smtp_password: SecretStr | None = Field(default=None, description="its password")
    smtp_tls: bool = Field(default=True, description="whether the mail server must speak TLS")
    mail_from: str = Field(default="fibsem-nuclei@localhost", description="sender of mails")
    mail_to: str | None = Field(default=None, description="who gets pages and tickets by mail, separated by commas")
    chat_webhook: SecretStr | None = Field(
        default=None, description="incoming webhook of a chat that takes Slack's form (Slack, Mattermost, Rocket.Chat)"
    )
    deadman_webhook: SecretStr | None = Field(
        default=None, description="address that hears the watchdog every minute and calls out when it stops"
    )


def configuration(settings: AlertSettings) -> dict[str, Any]:
    """Return Alertmanager's configuration.

    Parameters
    ----------
    settings
        Where alerts go.

    Returns
    -------
    dict
        To be written as JSON or YAML.
    """
    return {
        "global": {"resolve_timeout": "5m"},
        "route": _route(),
        "inhibit_rules": _inhibitions(),
        "receivers": [
            {"name": "operators", **_people(settings)},
            {"name": "pages", **_people(settings)},
            {"name": "dead-man", **_dead_man(settings)},
        ],
    }


def _route() -> dict[str, Any]:
    return {
        "receiver": "operators",
        "group_by": ["alertname", "service", "acquisition"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "24h",
        "routes": [
            {
                "matchers": ['alertname="Watchdog"'],
                "receiver": "dead-man",
                "group_wait": "0s",
                "group_interval": "1m",
                "repeat_interval": "1m",
            },
            {"matchers": ['severity="page"'], "receiver": "pages", "group_wait": "10s", "repeat_interval": "1h"},
        ],
    }


def _inhibitions() -> list[dict[str, Any]]:
    """Keep back what follows from a service being down, and tickets about a service that pages already."""
    return [
        {
            "source_matchers": ['alertname="TargetDown"'],
            "target_matchers": ['alertname!="TargetDown"'],
            "equal": ["service"],
        },
        {
            "source_matchers": ['alertname="DependencyDown"'],
            "target_matchers": ['alertname=~"PipelineStuck|BacklogGrowing|FallingBehind|InferenceCanaryFailed"'],
            "equal": ["service"],
        },
        {
            "source_matchers": ['severity="page"'],
            "target_matchers": ['severity="ticket"'],
            "equal": ["service"],
        },
        {
            "source_matchers": ['alertname="SliceGapWide"'],
            "target_matchers": ['alertname="SliceGap"'],
            "equal": ["acquisition"],
        },
    ]


def _people(settings: AlertSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if settings.smtp and settings.mail_to:
        found["email_configs"] = [_mail(settings, settings.smtp, settings.mail_to)]
    if settings.chat_webhook:
        found["slack_configs"] = [
            {
                "api_url": settings.chat_webhook.get_secret_value(),
                "send_resolved": True,
                "title": "{{ .Status }}: {{ .CommonLabels.alertname }}",
                "text": CHAT_TEXT,
            }
        ]
    return found


def _mail(settings: AlertSettings, smtp: str, mail_to: str) -> dict[str, Any]:
    mail: dict[str, Any] = {
        "to": mail_to,
        "from": settings.mail_from,
        "smarthost": smtp,
        "require_tls": settings.smtp_tls,
        "send_resolved": True,
    }
    if settings.smtp_user:
        mail["auth_username"] = settings.smtp_user
    if settings.smtp_password:
        mail["auth_password"] = settings.smtp_password.get_secret_value()
    return mail


def _dead_man(settings: AlertSettings) -> dict[str, Any]:
    if not settings.deadman_webhook:
        return {}
    url = settings.deadman_webhook.get_secret_value()
    return {"webhook_configs": [{"url": url, "send_resolved": False}]}


def write(content: Mapping[str, Any], path: Path) -> None:
    """Put the configuration in place whole, readable by its owner alone: it holds passwords."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    part.replace(path)


def main(argv: Sequence[str]) -> int:
    """Write the configuration to the file that is named; return the exit status."""
    if len(argv) != 1:
        sys.stderr.write("usage: python deploy/alertmanager/render.py FILE\n")
        return 2
    try:
        settings = AlertSettings(_secrets_dir=SECRETS if SECRETS.is_dir() else None)
    except ValidationError as error:
        sys.stderr.write(f"the settings of the alerts make no sense:\n{error}\n")
        return 2
    write(configuration(settings), Path(argv[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
