"""Makes the secrets of a deployment, once: ``python3 deploy/make_secrets.py``; needs nothing but Python.

`deploy/.secrets/` gets one file per container, readable by its owner alone, with what that container may know. Files
that are there stay as they are; a container that a newer release brings gets its own, and set-up is told of it. Remove
the folder, and every user of the store, to make new ones.
"""

import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / ".secrets"
# Users of the object store, one per container that works with it; `operator` is who asks and collects.
USERS = (
    "ingest", "extract-detect", "extract-follow", "inference", "postprocess", "components", "trainer", "shadow",
    "torchserve", "operator",
)  # fmt: skip


def files() -> dict[str, str]:
    """Return the content of every file."""
    owner, keys = secrets.token_urlsafe(24), {name: secrets.token_urlsafe(24) for name in USERS}
    made = {
        "minio.env": f"MINIO_ROOT_USER=owner\nMINIO_ROOT_PASSWORD={owner}\n",
        "setup.env": f"FIBSEM_S3__ACCESS_KEY=owner\nFIBSEM_S3__SECRET_KEY={owner}\n"
        + "".join(_told(name, key) for name, key in keys.items()),
        "grafana.env": f"GF_SECURITY_ADMIN_USER=admin\nGF_SECURITY_ADMIN_PASSWORD={secrets.token_urlsafe(18)}\n",
    }
    return made | {f"{name}.env": _own(name, key) for name, key in keys.items()}


def _own(name: str, key: str) -> str:
    return f"FIBSEM_S3__ACCESS_KEY={name}\nFIBSEM_S3__SECRET_KEY={key}\n"


def _told(name: str, key: str) -> str:
    return f"FIBSEM_USERS__{name}={key}\n"


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def make(folder: Path) -> str:
    """Write the files that are missing; return what is to be said of it."""
    setup = folder / "setup.env"
    if not setup.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, text in files().items():
            _write(folder / name, text)
        return f"made new secrets in {folder}; the password of Grafana's `admin` is in grafana.env\n"
    newcomers = [name for name in USERS if not (folder / f"{name}.env").exists()]
    for name in newcomers:
        key = secrets.token_urlsafe(24)
        # Set-up is told first: a user that nobody uses does no harm, one that nobody made stops a service.
        _write(setup, setup.read_text() + _told(name, key))
        _write(folder / f"{name}.env", _own(name, key))
    return f"made secrets for {', '.join(newcomers)} in {folder}\n" if newcomers else ""


def main() -> int:
    """Make what is missing, and say so."""
    sys.stdout.write(make(FOLDER))
    return 0


if __name__ == "__main__":
    sys.exit(main())
