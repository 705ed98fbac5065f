"""Kustomize: kubectl's, one that is installed, else built once from its Go module."""

from __future__ import annotations

import shutil
from functools import partial

from tests.system.servers.golang import go_install
from tests.system.servers.provision import built

VERSION = "v5.7.1"


def kustomize() -> list[str]:
    """Return the command that composes a folder."""
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    if installed := shutil.which("kustomize"):
        return [installed, "build"]
    module = f"sigs.k8s.io/kustomize/kustomize/v5@{VERSION}"
    return [str(built(f"kustomize-{VERSION}", partial(go_install, module)) / "kustomize"), "build"]
