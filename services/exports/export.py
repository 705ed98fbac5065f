"""Results of a run written in a format: what there is to write, and only what is not there yet."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.exports.files import read_record, replacing, write_record
from services.exports.products import Product, Selection
from services.exports.products import image_products as images
from services.exports.products import mesh_products as meshes
from services.exports.products import neuroglancer_products as neuroglancer
from services.exports.products import ome_zarr_products as ome_zarr
from services.exports.products import skeleton_products as skeletons
from services.exports.products import table_products as tables
from services.exports.reading import (
    Nucleus,
    Results,
    UnknownLabelError,
    open_nucleus,
    open_results,
    read_table,
    table_names,
)
from services.exports.selection import NothingToExportError

STAGE_VERSION = 1
"""Raised by hand when a writer changes what it writes; what older ones wrote is then written anew."""

Step = Callable[[str, int, int], None]


class UnknownFormatError(ValueError):
    """No format has that name."""


class MissingLibraryError(ValueError):
    """A format needs a library that is not installed."""


@dataclass(frozen=True)
class Format:
    """A format that results can be written in.

    Attributes
    ----------
    what
        What it is, in a line.
    products
        Returns what to write of a nucleus; None for tables, which are about all nuclei.
    needs
        Modules of the optional part `export` that it needs.
    """

    what: str
    products: Callable[[Nucleus, Selection], Iterator[Product]] | None
    needs: tuple[str, ...] = ()


FORMATS: dict[str, Format] = {
    "ome-zarr-0.4": Format("image pyramid with labels on Zarr 2: napari, Fiji, MoBIE", ome_zarr("0.4")),
    "ome-zarr-0.5": Format("image pyramid with labels on Zarr 3: napari, webKnossos", ome_zarr("0.5")),
    "neuroglancer": Format("precomputed volumes, meshes and skeletons, with a link", neuroglancer, ("tensorstore",)),
    "glb": Format("meshes in um, one file each and one of all: Blender, ChimeraX", meshes("glb"), ("trimesh",)),
    "obj": Format("meshes in um: any 3-D program", meshes("obj"), ("trimesh",)),
    "stl": Format("meshes in um: 3-D printing", meshes("stl"), ("trimesh",)),
    "ply": Format("meshes in um: MeshLab, CloudCompare", meshes("ply"), ("trimesh",)),
    "swc": Format("middle lines of the synaptonemal complex in um: navis, neuTube", skeletons),
    "mrc": Format("image stacks: IMOD, ChimeraX", images("mrc"), ("mrcfile",)),
    "tiff": Format("image stacks with spacing: Fiji, Amira, Dragonfly", images("tiff")),
    "csv": Format("tables with units: spreadsheets, R", None),
    "parquet": Format("tables with units: pandas, Arrow", None),
}


@dataclass(frozen=True)
class Request:
    """What to export.

    Attributes
    ----------
    out
        Results folder.
    format_name
        One of `FORMATS`.
    nucleus_ids
        Nuclei to write; all when empty.
    label
        The one label image to write; all, or what the format shows, when None.
    folder
        Where to write; `exports/<format>` in the results folder when None.
    """

    out: Path
    format_name: str
    nucleus_ids: tuple[str, ...] = ()
    label: str | None = None
    folder: Path | None = None


@dataclass
class Outcome:
    """What an export did: the folder, what it wrote, what was there already, and what it left out and why."""

    folder: Path
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def export(request: Request, on_step: Step | None = None) -> Outcome:
    """Write results in a format; what is there already, made of the same results, is kept.

    Parameters
    ----------
    request
        What to write.
    on_step
        Told of each product its path, and how many of how many steps of it are done.

    Raises
    ------
    UnknownFormatError, MissingLibraryError, UnknownLabelError
        If the format, or a label image, is not there.
    NotFinishedError, UnknownNucleusError, ResultsFormatError
        If the results are not finished, lack the nucleus, or are damaged.
    """
    chosen = _format(request.format_name)
    results = open_results(request.out)
    nucleus_ids = results.chosen(request.nucleus_ids)
    outcome = Outcome(request.folder or request.out / "exports" / request.format_name)
    outcome.folder.mkdir(parents=True, exist_ok=True)
    desk = _Desk(outcome, _digest(request, results), on_step or _say_nothing)
    if chosen.products is None:
        if request.label is not None:
            raise UnknownLabelError(f"{request.format_name} has no label images: leave --label out")
        named = nucleus_ids if request.nucleus_ids else None
        desk.write_all(tables(request.format_name, _read_tables(results, named)))
        return outcome
    for nucleus_id in nucleus_ids:
        try:
            desk.write_all(chosen.products(open_nucleus(results, nucleus_id), Selection(request.label)))
        except NothingToExportError as reason:
            outcome.left_out.append(str(reason))
    return outcome


def _say_nothing(_name: str, _done: int, _steps: int) -> None:
    pass


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise UnknownFormatError(f"no format is called {name!r}; formats: {', '.join(FORMATS)}")
    missing = [module for module in FORMATS[name].needs if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingLibraryError(
            f"export to {name} needs {', '.join(missing)}: install it with  pip install 'fibsem-nuclei[export]'"
        )
    return FORMATS[name]


def _read_tables(results: Results, nucleus_ids: Sequence[str] | None) -> list[tuple[str, object]]:
    found = [(name, read_table(results.out, name, nucleus_ids)) for name in table_names(results.out)]
    return [(name, table) for name, table in found if table is not None]


def _digest(request: Request, results: Results) -> str:
    """Digest of everything that decides the bytes of a product but its nucleus."""
    of_tables = FORMATS[request.format_name].products is None
    chosen = ",".join(request.nucleus_ids) if of_tables else ""  # any other product is of one nucleus, which names it
    parts = (str(STAGE_VERSION), request.format_name, request.label or "", chosen)
    return hashlib.sha256("\n".join(parts).encode() + results.manifest).hexdigest()


@dataclass(frozen=True)
class _Desk:
    """Writes products that are not there yet, and keeps the record."""

    outcome: Outcome
    digest: str
    on_step: Step

    def write_all(self, products: Iterator[Product]) -> None:
        for product in products:
            self._write(product)

    def _write(self, product: Product) -> None:
        folder = self.outcome.folder
        record = read_record(folder)
        if record.get(product.path) == self.digest and (folder / product.path).exists():
            self.outcome.kept.append(product.path)
            return
        with replacing(folder / product.path) as part:
            product.write(part, lambda done, steps: self.on_step(product.path, done, steps))
        write_record(folder, record | {product.path: self.digest})
        self.outcome.written.append(product.path)
