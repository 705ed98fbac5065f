"""Makes the secrets of a deployment, once: ``python3 deploy/make_secrets.py``; needs nothing but Python.

`deploy/.secrets/` gets one file per container, readable by its owner alone, with what that container may know. Files
that are there stay as they are; remove the folder, and every user of the store, to make new ones.
"""

import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / ".secrets"
# Users of the object store, one per container that works with it; `operator` is who asks and collects.
USERS = ("ingest", "extract-detect", "extract-follow", "inference", "postprocess", "components", "operator")


def files() -> dict[str, str]:
    """Return the content of every file."""
    owner, keys = secrets.token_urlsafe(24), {name: secrets.token_urlsafe(24) for name in USERS}
    made = {
        "minio.env": f"MINIO_ROOT_USER=owner\nMINIO_ROOT_PASSWORD={owner}\n",
        "setup.env": f"FIBSEM_S3__ACCESS_KEY=owner\nFIBSEM_S3__SECRET_KEY={owner}\n"
        + "".join(f"FIBSEM_USERS__{name}={key}\n" for name, key in keys.items()),
        "grafana.env": f"GF_SECURITY_ADMIN_USER=admin\nGF_SECURITY_ADMIN_PASSWORD={secrets.token_urlsafe(18)}\n",
    }
    for name, key in keys.items():
        made[f"{name}.env"] = f"FIBSEM_S3__ACCESS_KEY={name}\nFIBSEM_S3__SECRET_KEY={key}\n"
    return made


def main() -> int:
    """Write the files, unless they are there."""
    if (FOLDER / "setup.env").exists():
        return 0
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    for name, text in files().items():
        path = FOLDER / name
        path.touch(mode=0o600)
        path.write_text(text)
    sys.stdout.write(f"made new secrets in {FOLDER}; the password of Grafana's `admin` is in grafana.env\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
