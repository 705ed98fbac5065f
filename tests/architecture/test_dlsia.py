"""Of DLSIA only the networks' topologies are used: its helpers to train, save, load and infer stand nowhere.

Its savers pickle and its loaders run what they read; training is Lightning's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICES = Path(__file__).resolve().parents[2] / "services"
TOPOLOGIES = {"dlsia.core.networks.msdnet.MixedScaleDenseNetwork", "dlsia.core.networks.tunet.TUNet"}
# What a network of DLSIA can do by itself.
METHODS = {"save_network_parameters", "topology_dict"}


def helpers(tree: ast.AST) -> Iterator[str]:
    """Yield what is taken of DLSIA besides the topologies."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and node.attr in METHODS:
            yield node.attr
        yield from (name for name in names if name.partition(".")[0] == "dlsia" and name not in TOPOLOGIES)


def test_no_module_uses_a_helper_of_dlsia() -> None:
    used = {
        f"{path.relative_to(SERVICES)}: {name}"
        for path in SERVICES.rglob("*.py")
        for name in helpers(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert used == set()


def test_the_topologies_are_used() -> None:
    tree = ast.parse((SERVICES / "trainer" / "networks.py").read_text(encoding="utf-8"))
    named = {f"{n.module}.{a.name}" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert named >= TOPOLOGIES


@pytest.mark.parametrize(
    "source",
    [
        "from dlsia.core.train_scripts import train_segmentation",
        "from dlsia.core.networks.tunet import TUNetwork_from_file",
        "from dlsia.core.networks import tunet",
        "import dlsia.core.inference_scripts as scripts",
        "def keep(network):\n    from dlsia.core import helpers",
        "network.save_network_parameters('network.pt')",
    ],
)
def test_a_helper_is_found(source: str) -> None:
    assert list(helpers(ast.parse(source)))


def test_a_topology_is_let_through() -> None:
    assert not list(helpers(ast.parse("from dlsia.core.networks.tunet import TUNet")))
