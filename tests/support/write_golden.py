"""Add golden bytes for message types that have none yet.

python -m tests.support.write_golden

What is there is never written again: it is what older versions sent, and has to be understood for ever.
The bytes stand beside what they mean, so that both survive a change of the examples.
"""

from __future__ import annotations

from pathlib import Path

from services.contracts.codec import encode
from tests.support.messages import EXAMPLES

GOLDEN = Path(__file__).resolve().parents[1] / "contract" / "golden" / "v1"


def write_new(folder: Path) -> list[str]:
    """Write what is absent in `folder`; return the names of the types."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    for kind, message in EXAMPLES.items():
        path = folder / f"{kind.__name__}.binpb"
        if not path.exists():
            path.write_bytes(encode(message))
            path.with_suffix(".json").write_text(message.model_dump_json(indent=2) + "\n")
            written.append(kind.__name__)
    return written


if __name__ == "__main__":
    print(*write_new(GOLDEN), sep="\n")  # noqa: T201 - a script
