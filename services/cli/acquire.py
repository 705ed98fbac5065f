"""Verbs that make and follow acquisitions: simulate, run, amend, demo."""

from __future__ import annotations

import glob
import multiprocessing
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.console import OUT
from services.cli.display import RunDisplay
from services.cli.options import SHIPPED_MODELS, voxel_size, voxel_size_in_name
from services.contracts.method import Method
from services.contracts.values import VoxelSize
from services.embedded.progress import duration
from services.embedded.settings import RunSettings, settle
from services.runtime.clock import SystemClock
from services.runtime.signals import stop_event_on_signals

if TYPE_CHECKING:
    from services.embedded.run import Outcome
    from services.ingest.names import NameRules

STOPPED = 143


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(epilog="Example: fibsem-nuclei demo --out out/demo")(demo)
    app.command(
        epilog="Examples: fibsem-nuclei simulate sim --seed 7 --artefact curtaining=0.5 --artefact missed; "
        "fibsem-nuclei simulate live --period-s 2"
    )(simulate)
    app.command(
        epilog="Examples: fibsem-nuclei run sim/slices --out out; "
        "fibsem-nuclei run /data/ROI1 --out roi1 --voxel-nm 4,4,4 --watch; "
        "fibsem-nuclei run /data/ROI1 --out tuning --preview 40"
    )(run)
    app.command(
        epilog="Examples: fibsem-nuclei amend roi1 --out roi1-amended; "
        "fibsem-nuclei amend roi1 --out roi1-refined --refine"
    )(amend)


def simulate(
    directory: Annotated[Path, typer.Argument(help="folder for slices/ and truth/")],
    seed: Annotated[int, typer.Option(help="same seed, same bytes")] = 1,
    voxel_nm: Annotated[float, typer.Option(help="edge of a voxel")] = 16.0,
    nuclei: Annotated[int, typer.Option(help="whole nuclei in the field")] = 3,
    slices: Annotated[int | None, typer.Option(help="number of slices; default: enough for the nuclei")] = None,
    period_s: Annotated[float | None, typer.Option(help="seconds per slice; default: as fast as possible")] = None,
    artefact: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=STRENGTH, repeatable; `all` for every one")
    ] = None,
    image_format: Annotated[
        Literal["grey8", "rgb8", "grey16", "dat"], typer.Option("--format", help="TIFF of these pixels, or .dat")
    ] = "grey8",
) -> None:
    """Write slices as a microscope does, files growing in place, and the truth beside them."""
    from services.simulator.simulate import simulate as simulate_microscope
    from services.simulator.simulate import spec_for

    spec = spec_for(seed, voxel_nm, nuclei, slices, tuple(artefact or ()))
    clock = SystemClock()
    columns = (TextColumn("slices"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=OUT) as bar:
        task = bar.add_task("slices", total=spec.n_slices)
        simulate_microscope(
            directory,
            spec,
            period_s=period_s,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            wait=clock.wait,
            image_format=image_format,
        )
    OUT.print(f"slices in {directory / 'slices'}, truth in {directory / 'truth'}")


Slices = Annotated[
    Path,
    typer.Argument(
        help="folder the microscope writes into, one TIFF stack, or a finished volume: "
        ".zarr, .n5/NAME, .h5:/NAME, .mrc, .npy"
    ),
]
Out = Annotated[Path, typer.Option(help="folder for the results; the same command goes on where it stopped")]
Acquisition = Annotated[str | None, typer.Option(help="name; a second folder given under the same name is joined")]
VoxelNm = Annotated[str | None, typer.Option(help="Z,Y,X; default: what the file names say")]
Profile = Annotated[
    Literal["recommended", "manuscript", "as-run", "hela-40nm", "hela-learned"],
    typer.Option(help="how nuclei are detected"),
]
WindowUm = Annotated[float, typer.Option(help="edge of a crop; wider than a nucleus")]
Watch = Annotated[bool, typer.Option(help="wait for more slices until the acquisition is finished")]
Gaps = Annotated[Literal["declare", "wait"], typer.Option(help="a finished folder's missing slices: declare, or wait")]
Models = Annotated[Path, typer.Option(help="folder of published networks: three to be fused, or one for all classes")]
WholeField = Annotated[bool, typer.Option(help="one region, the whole field, instead of nuclei")]
Preview = Annotated[int | None, typer.Option("--preview", min=1, help="only so many slices, and an estimate for all")]
Chromosomes = Annotated[int, typer.Option(min=1, max=200, help="chromosomes expected in a whole nucleus")]
ChromosomesMethod = Annotated[
    Literal["cc26", "sc_watershed", "sc_link_watershed", "path_cover"],
    typer.Option(help="how chromosomes are separated; cc26: as the manuscript does"),
]
ChromosomesAs = Annotated[
    Literal["auto", "bivalents", "homologs"], typer.Option(help="what is counted; auto: homologs if more than 6")
]
Registration = Annotated[
    str,
    typer.Option(help="MODEL[,TREND[,DELAY]]: translation, rigid or affine; kept or zero; slices; or none"),
]
SliceThickness = Annotated[
    Literal["nominal", "measured"],
    typer.Option(help="measured: volumes, areas, lengths by the measured depth of slices"),
]
Repair = Annotated[str | None, typer.Option(help="destripe, gain or both, with a comma: what networks see of slices")]
SmallObjects = Annotated[Literal["3d", "2d"], typer.Option(help="specks by voxels in 3-D, or by pixels of each slice")]
FilePattern = Annotated[str | None, typer.Option(help="regular expression with (?P<z>...) for file names")]
Include = Annotated[str | None, typer.Option(help="shell pattern; files of other names are left alone")]
Channel = Annotated[int | None, typer.Option(help="detector, or channel of RGB files whose channels differ")]
Metadata = Annotated[
    Literal["check", "ignore"], typer.Option(help="files that state another pixel size than --voxel-nm: refuse, or not")
]
DataBarPx = Annotated[int | None, typer.Option(min=0, help="rows of writing at the bottom; default: by the metadata")]
ContrastAs = Annotated[
    Literal["as-is", "inverted"], typer.Option(help="inverted: stained material is bright in the files")
]
KeepFlags = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="folder of ...^keep markers of finished files")
]
Z = Annotated[int | None, typer.Option(min=0, help="first, last z; default: what is there")]
GapTimeoutS = Annotated[float | None, typer.Option(help="declare a z missing after so long; a recorded decision")]
AreaUm2 = Annotated[str | None, typer.Option(help="MIN,MAX section of a nucleus, um2; default: the profile's")]
MetricsPort = Annotated[int | None, typer.Option(help="serve /metrics, /healthz and /readyz here")]


def run(
    slices: Slices,
    out: Out,
    acquisition: Acquisition = None,
    voxel_nm: VoxelNm = None,
    profile: Profile = "recommended",
    watch: Watch = False,
    gaps: Gaps = "declare",
    models: Models = SHIPPED_MODELS,
    whole_field: WholeField = False,
    preview_slices: Preview = None,
    chromosomes: Chromosomes = 12,
    chromosomes_method: ChromosomesMethod = "sc_link_watershed",
    chromosomes_as: ChromosomesAs = "auto",
    small_objects: SmallObjects = "3d",
    registration: Registration = "none",
    slice_thickness: SliceThickness = "nominal",
    repair: Repair = None,
    file_pattern: FilePattern = None,
    include: Include = None,
    channel: Channel = None,
    metadata: Metadata = "check",
    data_bar_px: DataBarPx = None,
    contrast: ContrastAs = "as-is",
    keep_flags: KeepFlags = None,
    first_z: Z = None,
    last_z: Z = None,
    gap_timeout_s: GapTimeoutS = None,
    nucleus_area_um2: AreaUm2 = None,
    window_um: WindowUm = 6.8,
    metrics_port: MetricsPort = None,
) -> None:
    """Segment an acquisition, finished or still growing; stop it and start it again at will."""
    slices, include, voxel_nm = _as_slices(slices, include, out, voxel_nm, metadata, watch=watch)
    wanted = RunSettings(
        acquisition=acquisition or "acquisition",
        slices=(slices.resolve(),),
        voxel_size=voxel_size(voxel_nm) if voxel_nm else _voxel_size_of(slices, file_pattern, include, wait=watch),
        gaps=gaps,
        models=models.resolve(),
        **_separation(chromosomes, chromosomes_method, chromosomes_as, small_objects),
        **_files(file_pattern, include, channel, metadata, data_bar_px, contrast, keep_flags),
        **_extent(first_z, last_z, gap_timeout_s),
        **_following(nucleus_area_um2, window_um, registration),
        **_treatment(profile, whole_field, slice_thickness, repair),
    )
    _check(slices, wanted)
    if preview_slices is not None:
        return _preview(out, wanted, preview_slices)
    settled = settle(out, wanted, joined=acquisition is not None)
    return _end(out, _run(out, settled, watch=watch, metrics_port=metrics_port))


def amend(
    before: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="OUT of a finished run")],
    out: Annotated[Path, typer.Option(help="folder for the amended version; the earlier one stays as it is")],
    registration: Annotated[str | None, typer.Option(help="another registration: MODEL[,TREND[,DELAY]]")] = None,
    slice_thickness: Annotated[
        Literal["nominal", "measured"] | None, typer.Option(help="measure by another depth of slices")
    ] = None,
    repair: Annotated[
        str | None, typer.Option(help="other repairs: destripe, gain, both with a comma, or none")
    ] = None,
    refine: Annotated[bool, typer.Option("--refine", help="places of slices by all of them at once")] = False,
) -> None:
    """Make a new version of a finished run: slices came late, were replaced or removed, or are treated otherwise.

    Only what the change touches is computed again; the result is that of a run that had these slices from the
    start. identities.csv says which nucleus and object of the earlier version is which of the new one.
    """
    changes = _registration(registration) if registration else {}
    changes |= {"slice_thickness": slice_thickness} if slice_thickness else {}
    amended(before, out, changes=changes | (_repair(repair) if repair else {}), refine=refine)


def amended(
    before: Path,
    out: Path,
    models: Path | None = None,
    changes: Mapping[str, object] | None = None,
    *,
    refine: bool = False,
) -> None:
    """Run an amended version, with other networks, other settings or refined places where they are asked for."""
    from services.embedded.amending import prepare, write_identities

    with OUT.status("laying all slices on one another" if refine else "taking over what stays"):
        settings = prepare(before, out, models, changes, refine=refine)
    outcome = _run(out, settings, watch=False, metrics_port=None)
    _end(out, outcome)
    OUT.print(f"identities: {write_identities(before, out)}")


def demo(
    out: Annotated[Path, typer.Option(help="folder for the simulation and the results")] = Path("out/demo"),
    seed: Annotated[int, typer.Option(help="of the simulated gonad")] = 1,
    nuclei: Annotated[int, typer.Option(help="whole nuclei in the field")] = 3,
    slices: Annotated[int | None, typer.Option(help="number of slices; default: enough for the nuclei")] = None,
) -> None:
    """Simulate an acquisition live, segment it meanwhile, score the result and write the report."""
    from services.evaluation import evaluate as score
    from services.evaluation import format_scores
    from services.report import write_report
    from services.simulator.simulate import spec_for

    started = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    spec = spec_for(seed, 16.0, nuclei, slices, in_a_row=True)
    OUT.print(
        f"[bold]Demo[/]: a simulated FIB-SEM writes {spec.n_slices} slices of a C. elegans gonad into {out}/sim/slices;"
    )
    OUT.print("the pipeline follows it as the files land.\n")
    (out / "sim" / "slices").mkdir(parents=True)
    microscope = multiprocessing.get_context("spawn").Process(
        target=_acquire, args=(out / "sim", seed, nuclei, slices), name="microscope", daemon=True
    )
    microscope.start()
    wanted = RunSettings(
        acquisition="demo",
        slices=((out / "sim" / "slices").resolve(),),
        voxel_size=VoxelSize(z_nm=16, y_nm=16, x_nm=16),
        models=SHIPPED_MODELS.resolve(),
    )
    results = out / "results"
    settled = settle(results, wanted, joined=True)
    outcome = _run(results, settled, watch=True, metrics_port=None, alive=microscope.is_alive)
    microscope.join()
    if outcome.stopped:
        raise typer.Exit(STOPPED)
    with OUT.status("scoring against the truth"):
        scores = score(out / "sim" / "truth", results)
    OUT.print(format_scores(scores), markup=False, highlight=False)
    outcome.keep_scores(scores.as_json())
    with OUT.status("writing the report"):
        report = write_report(results)
    OUT.print(f"\n[bold green]done[/] in {(time.monotonic() - started) / 60:.1f} minutes; open [bold]{report}[/]")


def _acquire(directory: Path, seed: int, nuclei: int, slices: int | None) -> None:
    from services.simulator.simulate import simulate as simulate_microscope
    from services.simulator.simulate import spec_for

    clock = SystemClock()
    simulate_microscope(
        directory,
        spec_for(seed, 16.0, nuclei, slices, in_a_row=True),
        period_s=None,
        progress=lambda _done, _total: None,
        wait=clock.wait,
    )


def _run(
    out: Path,
    settings: RunSettings,
    *,
    watch: bool,
    metrics_port: int | None,
    alive: Callable[[], bool] = lambda: True,
) -> Outcome:
    from services.embedded.run import Surroundings, run_to_the_end

    with stop_event_on_signals() as stop, RunDisplay(OUT) as display:
        around = Surroundings(stop, display.show, metrics_port, alive)
        return run_to_the_end(out, settings, around, watch=watch)


def _preview(out: Path, wanted: RunSettings, count: int) -> None:
    from services.embedded.preview import preview
    from services.embedded.run import Surroundings

    with stop_event_on_signals() as stop, RunDisplay(OUT) as display:
        folder, outcome, estimate = preview(out, wanted, count, Surroundings(stop, display.show))
    _end(folder, outcome)
    OUT.print(
        f"all {estimate.slices} slices: about {duration(estimate.seconds)} on this machine, "
        f"{estimate.disk_bytes / 1e9:.1f} GB of disk under --out"
    )


def _end(out: Path, outcome: Outcome) -> None:
    from services.report import write_report

    if outcome.stopped:
        OUT.print(f"stopped; nothing is lost. The same command with --out {out} goes on where it stopped")
        raise typer.Exit(STOPPED)
    with OUT.status("writing the report"):
        report = write_report(out)
    OUT.print(outcome.summary())
    OUT.print(f"report: [bold]{report}[/]")


def _as_slices(
    slices: Path, include: str | None, out: Path, voxel_nm: str | None, metadata: str, *, watch: bool
) -> tuple[Path, str | None, str | None]:
    """Return a folder of slices, which of its names count, and the voxel size as far as it is known.

    A finished volume is laid out as slices in the output first.
    """
    from services.cli.inspecting import refuse_slices_below
    from services.cli.volumes import is_volume, lay_out

    if slices.is_file() and not is_volume(slices):
        return slices.parent, glob.escape(slices.name), voxel_nm
    if not is_volume(slices):
        refuse_slices_below(slices, include)
        return slices, include, voxel_nm
    if watch:
        raise typer.BadParameter(f"{slices} is a finished volume: leave out --watch")
    folder = out / ".state" / "slices"
    return folder, None, lay_out(slices, folder, voxel_nm, metadata)


def _check(slices: Path, wanted: RunSettings) -> None:
    """Hold the settings against the slices that are there."""
    from services.cli.inspecting import check_before_run
    from services.ingest.inspection import Wanted

    size = wanted.voxel_size
    stated = Wanted(
        None if wanted.metadata == "ignore" else (size.y_nm, size.x_nm),
        wanted.channel,
        wanted.contrast == "inverted",
        wanted.data_bar_px,
    )
    check_before_run(slices, stated, wanted.file_pattern, wanted.include)


def _voxel_size_of(slices: Path, file_pattern: str | None, include: str | None, *, wait: bool) -> VoxelSize:
    """Return the voxel size that the names of the slices state, or names and metadata together; never assume one."""
    from services.cli.inspecting import name_rules
    from services.ingest.names import FINISH_MARKER, Candidate, classify

    clock, rules = SystemClock(), name_rules(file_pattern, include)
    while True:
        everything = sorted(path.name for path in slices.iterdir())
        names = [name for name in everything if isinstance(classify(name, rules), Candidate)]
        found = next((size for name in names if (size := voxel_size_in_name(name)) is not None), None)
        if found:
            return found
        if names or not wait or FINISH_MARKER in everything:
            return _voxel_size_in_files(slices, rules)
        clock.wait(1.0)


def _voxel_size_in_files(slices: Path, rules: NameRules) -> VoxelSize:
    from services.cli.inspecting import stated_voxel_nm

    z_nm, y_nm, x_nm = stated_voxel_nm(slices, rules)
    if z_nm and y_nm and x_nm:
        return VoxelSize(z_nm=z_nm, y_nm=y_nm, x_nm=x_nm)
    if y_nm and x_nm:
        raise typer.BadParameter(f"files state y {y_nm:g}, x {x_nm:g} nm and no z: give --voxel-nm Z,{y_nm:g},{x_nm:g}")
    raise typer.BadParameter("the file names state no voxel size: give --voxel-nm Z,Y,X")


def _files(
    file_pattern: str | None,
    include: str | None,
    channel: int | None,
    metadata: str,
    data_bar_px: int | None,
    contrast: str,
    keep_flags: Path | None,
) -> dict[str, Any]:
    """Return the settings of how files are read."""
    return {
        "file_pattern": file_pattern,
        "include": include,
        "channel": channel,
        "metadata": metadata,
        "data_bar_px": data_bar_px,
        "contrast": contrast,
        "keep_flags": keep_flags.resolve() if keep_flags else None,
    }


def _extent(first_z: int | None, last_z: int | None, gap_timeout_s: float | None) -> dict[str, Any]:
    """Return the settings of which slices are wanted."""
    return {"first_z": first_z, "last_z": last_z, "gap_timeout_s": gap_timeout_s}


def _separation(count: int, method: str, counted_as: str, small_objects: str) -> dict[str, Any]:
    """Return the settings of the separation of chromosomes."""
    return {
        "chromosomes": count,
        "chromosomes_method": method,
        "chromosomes_as": counted_as,
        "small_objects": small_objects,
    }


def _following(area_um2: str | None, window_um: float, registration: str) -> dict[str, Any]:
    """Return the settings of the size of nuclei, and of how slices are laid on one another."""
    sizes = {"nucleus_area_um2": _area(area_um2) if area_um2 else None, "window_um": window_um}
    return sizes | _registration(registration)


def _registration(text: str) -> dict[str, Any]:
    """Return the settings of registration that MODEL[,TREND[,DELAY]] stands for."""
    names = ("registration", "registration_trend", "registration_delay")
    words = text.split(",")
    if len(words) > len(names):
        raise typer.BadParameter(f"{text!r} is not MODEL[,TREND[,DELAY]], as in affine,kept,4")
    said = dict(zip(names, words, strict=False))
    try:
        Method.model_validate(said)
    except ValidationError as error:
        raise typer.BadParameter(f"{text!r} is not MODEL[,TREND[,DELAY]]: {error.errors()[0]['msg']}") from error
    return said | ({"registration_delay": int(words[2])} if len(words) > 2 else {})


def _treatment(profile: str, whole_field: bool, slice_thickness: str, repair: str | None) -> dict[str, Any]:
    """Return the settings of what a slice is taken for."""
    said = {"profile": profile, "whole_field": whole_field, "slice_thickness": slice_thickness}
    return said | _repair(repair or "none")


def _repair(text: str) -> dict[str, Any]:
    """Return the setting that names of repairs stand for."""
    said = {"repair": () if text == "none" else tuple(text.split(","))}
    try:
        return {"repair": Method.model_validate(said).repair}
    except ValidationError as error:
        raise typer.BadParameter(f"{text!r} is not destripe, gain, destripe,gain or none") from error


def _area(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--nucleus-area-um2 {text!r}: give MIN,MAX such as 4.8,16") from error
    return low, high
