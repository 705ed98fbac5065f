"""Verbs that bring results into other tools: export and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from services.cli.console import OUT

Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="OUT of a finished run")]
Nuclei = Annotated[list[str] | None, typer.Option("--nucleus", metavar="ID", help="only this one; may be repeated")]

_FORMATS = (
    "ome-zarr-0.4, ome-zarr-0.5, neuroglancer, glb, obj, stl, ply, swc, mrc, tiff, csv, parquet; "
    "docs/exports.md says which tool opens which"
)
_EXPORT_EXAMPLES = "\n\n".join(
    (
        "Examples:",
        "fibsem-nuclei export roi1 --to ome-zarr-0.5",
        "fibsem-nuclei export roi1 --to glb --nucleus n0007 --out meshes",
        "fibsem-nuclei export roi1 --to tiff --label chromosomes",
        "fibsem-nuclei export roi1 --to neuroglancer && python roi1/exports/neuroglancer/serve.py",
    )
)
_FIGURES_EXAMPLES = "Example: fibsem-nuclei figures roi1 --out figures --nucleus n0007 --dpi 600"


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(epilog=_EXPORT_EXAMPLES)(export)
    app.command(epilog=_FIGURES_EXAMPLES)(figures)


def export(
    out: Folder,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=_FORMATS)],
    nucleus: Nuclei = None,
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="only this label image, e.g. classes, objects, chromosomes")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="where to write; default OUT/exports/FORMAT")
    ] = None,
) -> None:
    """Write results in the formats of other tools; a second run writes only what is not there yet."""
    from services.exports.export import Request, UnknownFormatError
    from services.exports.export import export as write

    request = Request(out, to, tuple(nucleus or ()), label, folder)
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, steps: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=steps)
            bars.update(tasks[name], completed=done, total=steps, visible=done < steps)

        try:
            outcome = write(request, show)
        except UnknownFormatError as error:
            raise typer.BadParameter(str(error), param_hint="--to") from error
    for reason in outcome.left_out:
        OUT.print(f"left out: {reason}", markup=False, highlight=False, soft_wrap=True)
    kept = f", {len(outcome.kept)} already there" if outcome.kept else ""
    OUT.print(f"wrote {len(outcome.written)} to {outcome.folder}{kept}", markup=False, highlight=False, soft_wrap=True)
    if to == "neuroglancer":
        OUT.print(f"to look at it: python {outcome.folder / 'serve.py'}", markup=False, highlight=False, soft_wrap=True)


def figures(
    out: Folder,
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="where to write the figures")],
    nucleus: Nuclei = None,
    dpi: Annotated[int, typer.Option(min=72, max=1200, help="dots per inch at the printed size")] = 300,
) -> None:
    """Draw the manuscript's figures 7 to 10 of each nucleus, as PNG, PDF and SVG, from real output."""
    from services.report.figures import write_figures

    with _bars() as bars:
        task = bars.add_task("figures", total=None)

        def show(name: str, done: int, steps: int) -> None:
            bars.update(task, description=name, completed=done, total=steps)

        written = write_figures(out, folder, tuple(nucleus or ()), dpi, show)
    OUT.print(f"wrote {len(written)} files to {folder}", markup=False, highlight=False, soft_wrap=True)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=OUT,
        transient=True,
    )
