"""Algorithms are pure and functions short: read from the source of every module, not from what a run may call."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICES = Path(__file__).resolve().parents[2] / "services"
SERVICE_NAMES = (
    "simulator",
    "ingest",
    "extract",
    "inference",
    "postprocess",
    "components",
    "trainer",
    "evaluation",
    "exports",
    "report",
    "results",
)
SHELL_NAMES = ("__main__", "settings", "handler")

# Modules that work with the runtime's ports, with the reason why they are no `handler.py`.
SHELLS = {
    "extract/detect": "the handler of detection; a service of two handlers has no one `handler.py`",
    "extract/follow": "the handler of following, likewise",
    "extract/judging": "fetches from the store what detection left of a slice, and counts what is wrong",
    "extract/outlook": "keeps in the store what is known of nuclei so far, and measures forecasts",
    "extract/reading": "fetches a slice from the store and names its faults",
    "extract/registering": "fetches the digests of slices from the store and places them in z order",
    "extract/solving": "fetches the digests of all slices of a run from the store, and places from there",
    "inference/answers": "opens networks on a list of images",
    "inference/catalogue": "reads the cards of a folder of models",
    "ingest/attempts": "writes down in the store which file is about to be read",
    "ingest/copies": "compares the microscope's files with the store's",
    "ingest/folders": "lists what a microscope writes; a folder out of reach is an outage",
    "ingest/journal": "keeps the journal in the store",
    "ingest/keeping": "keeps in the store what ingest must not forget",
    "ingest/lookout": "tells how long a file has been at rest by the runtime's clock",
    "ingest/publishing": "publishes what ingest found and waits for the acknowledgement",
    "ingest/polling": "looks at the folders; an outage there is said as such",
    "ingest/registry": "keeps in the store which acquisitions there are",
    "ingest/requests": "reads from the store what operators ask for",
    "ingest/turns": "ingest's turns, paused while something is out",
    "ingest/watcher": "the loop of ingest, which hears no topic and so is no handler",
    "results/assembly": "gathers a run's artefacts from the store into a folder",
    "results/files": "puts files in place whole; a full disk is an outage",
    "results/volumes": "brings volumes from the store into a folder",
    "inference/crops": "fetches a crop from the store and names its faults",
    "inference/shadow": "the handler of shadow mode; a service of two handlers has no one `handler.py`",
    "inference/stacks": "labels stacks by a network that it opens",
    "postprocess/crops": "fetches crops from the store and names their faults",
    "trainer/onnx": "writes a network as a detector, by the runtime's reading of cards",
    "trainer/runs": "scores and publishes by the runtime's ways with networks",
    "trainer/job": "one training in a process of its own, which the handler starts",
    "trainer/requests": "keeps in the store what is asked of the trainer",
    "trainer/safekeeping": "copies checkpoints into the store",
    "trainer/publishing": "writes a model as the segmenter's archives are laid out",
}
# Modules whose job is to read or write files, and nothing else of a shell.
FILES = {
    "imaging/volumes/paths": "tells from a path, and from what lies there, how a volume is stored",
    "imaging/volumes/reading": "opens volumes and reads some planes at a time",
    "imaging/volumes/unpacking": "lays a volume out as slices",
    "imaging/volumes/writing": "writes volumes plane by plane",
    "extract/learned": "reads the network that ships with a profile",
    "ingest/joining": "reads the tiles of a folder and writes the slices they make",
    "ingest/tiles": "reads tiles",
    "ingest/inspection": "opens slice files and looks at them, for a person",
    "evaluation/folders": "reads the label images that are compared",
    "evaluation/page": "writes the page of a comparison",
    "evaluation/reading": "opens the volumes that are compared",
    "evaluation/scoring": "names the folders that are compared",
    "inference/pages": "reads the pages of TIFF files",
    "inference/prediction": "labels a folder of images",
    "exports/export": "names the folders that are read and written",
    "exports/files": "puts exported files in place whole",
    "exports/ome_zarr": "writes OME-Zarr",
    "exports/precomputed": "writes Neuroglancer's volumes",
    "exports/products": "names the files of an export",
    "exports/reading": "reads the results that are exported",
    "exports/stacks": "writes MRC and TIFF",
    "exports/tables": "writes tables",
    "report/drawing": "reads the font file that ships with matplotlib",
    "report/figures": "writes figures for print",
    "report/reading": "reads the results that a report shows",
    "report/volumes": "reads volumes piece by piece",
    "report/writing": "writes the report's folder",
    "results/content": "hashes what result files say",
    "results/events": "sorts the events of a run in a scratch database on disk",
    "results/manifest": "hashes the results folder",
    "results/tables": "writes the tables",
    "simulator/microscope": "writes slices as a microscope does",
    "simulator/simulate": "lays out the folder of a simulated acquisition",
    "simulator/truth": "writes what is known of a simulated acquisition",
    "trainer/annotations/coco": "reads COCO files",
    "trainer/annotations/dataset": "reads and writes annotated data sets",
    "trainer/annotations/extending": "names the folders of data sets and queues",
    "trainer/annotations/importing": "names the files of an import",
    "trainer/annotations/page": "writes the page of a data set",
    "trainer/annotations/proposing": "reads masks to propose a class map",
    "trainer/annotations/pseudo_labels": "names the files that are proposed for",
    "trainer/annotations/queue_page": "writes the page of a review queue",
    "trainer/annotations/queues": "reads and writes review queues",
    "trainer/annotations/reading": "reads images and masks",
    "trainer/annotations/reviewing": "reads the labels that are accepted",
    "trainer/annotations/sources": "names the files of masks",
    "trainer/annotations/webknossos": "unpacks webKnossos annotations",
    "trainer/datasets": "reads training data",
    "trainer/recipes": "reads recipes",
    "trainer/data": "names the folders of data sets",
    "trainer/memory": "reads the limits of control groups",
    "trainer/keeping": "writes checkpoints and best weights",
    "trainer/training": "keeps a training in its folder",
}

ENVIRONMENT = frozenset({
    "asyncio", "datetime", "getpass", "http", "logging", "multiprocessing", "os", "pathlib", "platform", "random",
    "secrets", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "urllib",
    "uuid",
})  # fmt: skip
CLIENTS = frozenset(
    {"kafka", "minio", "prometheus_client", "pydantic_settings", "requests", "rich", "structlog", "typer"}
)
RUNTIME = frozenset({"services.runtime"})
# A module whose job is files may also name processes it draws in, and the time a report was made.
FILE_WORK = frozenset({"datetime", "multiprocessing", "os", "pathlib", "shutil", "sqlite3", "sys", "tempfile"})
SHELL_WORK = ENVIRONMENT | CLIENTS | RUNTIME
CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint"})
# Generators that carry their own seed; everything else of `numpy.random` is one hidden state for the process.
SEEDED = frozenset({"default_rng", "Generator", "SeedSequence", "PCG64", "Philox", "BitGenerator"})

LINES_PER_FUNCTION = 50
LINES_PER_FILE = 600


def name_of(path: Path) -> str:
    return path.relative_to(SERVICES).with_suffix("").as_posix()


def is_generated(path: Path) -> bool:
    return path.relative_to(SERVICES).parts[:2] == ("contracts", "pb")


MODULES = {name_of(path): path for path in sorted(SERVICES.rglob("*.py")) if not is_generated(path)}


def is_pure(name: str) -> bool:
    """Whether a module belongs to the pure core: all of imaging but files, and of a service all but its shell."""
    package, _, rest = name.partition("/")
    if package == "imaging":
        return name not in FILES
    return package in SERVICE_NAMES and rest not in SHELL_NAMES and name not in SHELLS and name not in FILES


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every module that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "a relative import"


def forbidden_imports(tree: ast.AST, forbidden: frozenset[str]) -> list[str]:
    """Return the imports of a module that are, or lie within, forbidden ones."""
    return sorted(
        name for name in imported(tree) if any(name == bad or name.startswith(f"{bad}.") for bad in forbidden)
    )


def impure_uses(tree: ast.AST) -> list[str]:
    """Return what a module does to the world besides returning values."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append(f"line {node.lineno} calls {node.func.id}")
        if isinstance(node, ast.Attribute) and _is_hidden_randomness(node):
            found.append(f"line {node.lineno} uses numpy.random.{node.attr}")
        if isinstance(node, ast.Call) and _is_unseeded(node):
            found.append(f"line {node.lineno} makes a generator without a seed")
        if isinstance(node, ast.Global):
            found.append(f"line {node.lineno} changes a global")
    return found


def _is_hidden_randomness(node: ast.Attribute) -> bool:
    inner = node.value
    return (
        isinstance(inner, ast.Attribute)
        and inner.attr == "random"
        and isinstance(inner.value, ast.Name)
        and inner.value.id in {"np", "numpy"}
        and node.attr not in SEEDED
    )


def _is_unseeded(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"default_rng", "SeedSequence"} and not node.args and not node.keywords


def parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


PURE = [name for name in MODULES if is_pure(name)]


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_knows_nothing_but_its_arguments(name: str) -> None:
    tree = parsed(name)
    assert forbidden_imports(tree, SHELL_WORK) == []
    assert impure_uses(tree) == []


@pytest.mark.parametrize("name", FILES)
def test_a_module_of_files_knows_files_and_no_ports_or_clocks(name: str) -> None:
    tree = parsed(name)
    assert forbidden_imports(tree, SHELL_WORK - FILE_WORK) == []
    assert forbidden_imports(tree, FILE_WORK), "it is pure: take it off the list"


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_works_with_the_runtime(name: str) -> None:
    assert forbidden_imports(parsed(name), RUNTIME), "it needs no port: take it off the list"


def test_no_list_of_exceptions_names_a_module_that_is_gone() -> None:
    assert sorted({*SHELLS, *FILES} - set(MODULES)) == []


def test_only_the_runtime_and_the_services_shells_log() -> None:
    logging = [name for name in MODULES if forbidden_imports(parsed(name), frozenset({"structlog", "logging"}))]
    allowed = ("runtime/", "cli/", "embedded/")
    assert [
        name
        for name in logging
        if not name.startswith(allowed) and name not in SHELLS and name.rpartition("/")[2] not in SHELL_NAMES
    ] == []


IMPURE = {
    "a client": "from minio import Minio\n",
    "a clock": "import time\n",
    "a part of a clock": "from datetime import datetime\n",
    "a logger": "import structlog\n",
    "the environment": "def f():\n    import os.path\n",
    "the runtime": "from services.runtime.clock import Clock\n",
    "the runtime by its parent": "from services import runtime\n",
}


@pytest.mark.parametrize("what", IMPURE)
def test_an_impure_import_is_found(what: str) -> None:
    assert forbidden_imports(ast.parse(IMPURE[what]), SHELL_WORK)


SIDE_EFFECTS = {
    "a file": "def f(path):\n    return open(path).read()\n",
    "the terminal": "print('done')\n",
    "hidden randomness": "import numpy as np\nnp.random.seed(1)\n",
    "a random draw": "import numpy as np\nx = np.random.normal()\n",
    "an unseeded generator": "import numpy as np\nx = np.random.default_rng()\n",
    "a global": "def f():\n    global count\n    count = 1\n",
}


@pytest.mark.parametrize("what", SIDE_EFFECTS)
def test_a_side_effect_is_found(what: str) -> None:
    assert impure_uses(ast.parse(SIDE_EFFECTS[what]))


def test_honest_code_is_left_alone() -> None:
    tree = ast.parse(
        "import numpy as np\nimport ostrich\nfrom services.contracts import keys\nx = np.random.default_rng(7)\n"
    )
    assert impure_uses(tree) == forbidden_imports(tree, SHELL_WORK) == []


# Sizes


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function, signature included and docstring not."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def long_functions(tree: ast.AST) -> list[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f"{node.name} has {lines_of(node)} lines" for node in functions if lines_of(node) > LINES_PER_FUNCTION]


@pytest.mark.parametrize("name", MODULES)
def test_functions_and_files_are_short(name: str) -> None:
    assert long_functions(parsed(name)) == []
    assert len(MODULES[name].read_text().splitlines()) <= LINES_PER_FILE


def test_a_long_function_is_found_and_a_long_docstring_is_not() -> None:
    body = "    x = 1\n" * 50
    docstring = '    """One.\n' + "    More.\n" * 60 + '    """\n'
    assert long_functions(ast.parse(f"def f():\n{body}")) == ["f has 51 lines"]
    assert long_functions(ast.parse(f"def f():\n{docstring}    return 1\n")) == []
