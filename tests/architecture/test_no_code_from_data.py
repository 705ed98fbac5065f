"""Nothing that comes from a network, a store or a share is run: no pickle and no other format that holds code.

Every module of the services, and every script of the deployment, is looked at as source; what may stand nowhere is
named here, with what must stand where data are read all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((*(ROOT / "services").rglob("*.py"), *(ROOT / "deploy").rglob("*.py")))

# Formats of which reading is running.
MODULES = frozenset(
    {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
)
CALLS = frozenset({
    "eval", "exec", "compile", "__import__",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all",
    "pandas.read_pickle", "pd.read_pickle", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter",
    "torch.export.load", "runpy.run_path", "runpy.run_module",
})  # fmt: skip
# Calls that are let through with this argument alone, written down as a constant.
REQUIRED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
# Exported networks may hold pickled parts: they are opened after their hash was verified, and where they were made.
ALLOWED = {
    ("services/runtime/segmenter/archives.py", "torch.export.load"),
    ("services/trainer/publishing.py", "torch.export.load"),
}
METHODS = frozenset({"extractall", "unpack_archive"})


def name_of(node: ast.expr) -> str:
    """Return a dotted name, or an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := name_of(node.value)):
        return f"{before}.{node.attr}"
    return ""


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from torch import load` would hide a call from those who look for its whole name.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def found(tree: ast.AST) -> Iterator[str]:
    """Yield what may not stand in a module."""
    for name in imports(tree):
        if name.split(".")[0] in MODULES or name in CALLS | REQUIRED.keys():
            yield name
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        if name in CALLS or (isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            yield name
        elif name in REQUIRED:
            word, wanted = REQUIRED[name]
            given = {each.arg: each.value for each in node.keywords}.get(word)
            if not isinstance(given, ast.Constant) or given.value is not wanted:
                yield f"{name} without {word}={wanted}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_what_it_reads(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    assert {(name, each) for each in found(ast.parse(path.read_text()))} <= ALLOWED


def test_what_is_allowed_is_there() -> None:
    for name, call in ALLOWED:
        assert call in set(found(ast.parse((ROOT / name).read_text())))


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 200


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import os, marshal",
        "from joblib import load",
        "from torch import load",
        "from yaml import unsafe_load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=sure)",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "torch.export.load(file)",
        "eval(text)",
        "def read():\n    import dill",
        "zipfile.ZipFile(path).extractall()",
        "tarfile.open(path).extractall(folder)",
    ],
)
def test_it_would_be_noticed(text: str) -> None:
    assert list(found(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "yaml.safe_load(text)",
        "network.eval()",
    ],
)
def test_what_reads_data_alone_is_let_through(text: str) -> None:
    assert not list(found(ast.parse(text)))
