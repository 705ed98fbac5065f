"""Settings of the alerts with every receiver."""

from __future__ import annotations

from pydantic import SecretStr

from deploy.alertmanager.render import AlertSettings

EVERYTHING = AlertSettings(
    smtp="mail.example.org:587",
    smtp_user="fibsem",
    smtp_password=SecretStr('it\'s "quoted": {yes}\n'),
    mail_to="em@example.org",
    chat_webhook=SecretStr("https://chat.example.org/hooks/1"),
    deadman_webhook=SecretStr("https://watch.example.org/ping/1"),
)
