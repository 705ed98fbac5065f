"""Generate the protobuf modules and the descriptor set from protos/fibsem/v1.

python protos/generate.py            writes services/contracts/pb and services/contracts/fibsem_v1.binpb
python protos/generate.py --check    fails when what is committed differs from what would be written
"""

from __future__ import annotations

import argparse
import filecmp
import re
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
TARGET = ROOT.parent / "services" / "contracts"
# protoc writes imports relative to its include root, which does not resolve inside our package.
IMPORT = re.compile(r"^from (fibsem\.v\d+) import", re.MULTILINE)


def generate(folder: Path) -> None:
    """Write `pb/` and the descriptor set into `folder`."""
    out = folder / "pb"
    out.mkdir()
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    descriptors = folder / "fibsem_v1.binpb"
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--descriptor_set_out={descriptors}",
    ]
    if protoc.main([*arguments, *sources]) != 0:
        sys.exit("protoc failed: see its message above")
    for path in [*out.rglob("*.py"), *out.rglob("*.pyi")]:
        path.write_text(IMPORT.sub(r"from services.contracts.pb.\1 import", path.read_text()))
    for package in [out, *(path for path in out.rglob("*") if path.is_dir())]:
        (package / "__init__.py").write_text('"""Generated from protos/ by protos/generate.py."""\n')


def differences(generated: Path, committed: Path) -> list[str]:
    """Names of files that differ, or exist on one side only."""
    names = {path.relative_to(root) for root in (generated, committed) for path in root.rglob("*") if path.is_file()}
    names = {name for name in names if "__pycache__" not in name.parts}
    return sorted(
        str(name)
        for name in names
        if not (generated / name).exists()
        or not (committed / name).exists()
        or not filecmp.cmp(generated / name, committed / name, shallow=False)
    )


def main() -> None:
    """Write or check the generated code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 when something differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder)
        if check:
            changed = differences(folder / "pb", TARGET / "pb")
            if not filecmp.cmp(folder / "fibsem_v1.binpb", TARGET / "fibsem_v1.binpb", shallow=False):
                changed.append("fibsem_v1.binpb")
            if changed:
                sys.exit(f"generated code is out of date ({', '.join(changed)}): run `make protos`")
            return
        shutil.rmtree(TARGET / "pb", ignore_errors=True)
        shutil.move(folder / "pb", TARGET / "pb")
        shutil.move(folder / "fibsem_v1.binpb", TARGET / "fibsem_v1.binpb")


if __name__ == "__main__":
    main()
