"""The labeller beside what it replaces: both sides in turn, on the same volume, checked equal.

Run it as ``python -m tests.benchmarks.bench_labelling PART [--side 512] [--repeat 3]``, where PART is one of

``clean``    three classes cleaned in place and the 12 largest chromosomes, a whole volume: scikit-image and cc3d
``memory``   the extra peak memory of both sides of ``clean``, each in a process of its own
``slices``   every object of a volume fed slice by slice: `cc3d.connected_components_stack` (needs
             ``connected-components-3d[stack]``)
``dense``    volumes without background (cc3d's best case) and dense random noise: `cc3d.connected_components`
``nucleus``  a nucleus of 1700 x 1700 x 1250 voxels, slice by slice, made on the fly outside the timed part
``proof``    volumes tried against cc3d and scipy, and differences; real ones with ``--data FOLDER``

Ratios are of processor time, which a busy machine disturbs least; that of two threads is of wall time.
"""

import argparse
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cc3d
import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_objects

from services.imaging.labelling import (
    LabellingParameters,
    LabelTables,
    StreamingLabeller,
    clean_volume,
    components_of,
    label_volume,
    paint_volume,
)
from services.imaging.labelling.statistics import moments
from services.imaging.labelling.volumes import MapBlocks
from tests.unit.imaging.labelling_reference import MAKERS

MIN_VOXELS = {2: 2000, 3: 3000, 4: 1000}
CHROMOSOMES = (2, 4)
N_LARGEST = 12
NUCLEUS_ZYX = (1250, 1700, 1700)
CELL = 4

Result = TypeVar("Result")


class Timed(NamedTuple):
    """Seconds of one run."""

    wall_s: float
    cpu_s: float


class Labelled(NamedTuple):
    """Classes after small objects were removed, and the largest chromosomes (0 elsewhere)."""

    cleaned: NDArray[np.uint8]
    largest: NDArray[Any]


def five_class_volume(side: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return a nucleus: nucleoplasm (1), chromatin (2), nucleoli (3), cores (4), and specks of two sizes everywhere."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[:side, :side, :side]
    centre = side / 2
    squared = ((z - centre) / 0.95) ** 2 + ((y - centre) / 1.05) ** 2 + (x - centre) ** 2
    volume = (squared < (0.42 * side) ** 2).astype(np.uint8)
    inside = volume == 1
    coarse = ndimage.gaussian_filter(rng.standard_normal((side // 2,) * 3).astype(np.float32), 4)
    texture = np.kron(coarse / coarse.std(), np.ones((2, 2, 2), np.float32))
    volume[inside & (texture > 0.9)] = 2
    volume[inside & (texture > 1.9)] = 4
    for centre_z, centre_y, centre_x in rng.uniform(0.35 * side, 0.65 * side, (5, 3)):
        volume[(z - centre_z) ** 2 + (y - centre_y) ** 2 + (x - centre_x) ** 2 < (0.06 * side) ** 2] = 3
    volume[np.kron(rng.random((side // 4,) * 3) < 0.004, np.ones((4, 4, 4), np.bool_))] = 2
    for plane in volume:
        plane[rng.random(plane.shape) < 0.0005] = 2
    return volume


def parameters_of(volume: NDArray[Any]) -> LabellingParameters:
    return LabellingParameters(
        canvas_shape_yx=volume.shape[1:], min_voxels=MIN_VOXELS, plane_type=volume.dtype.name, block_planes=32
    )


def labelled_in_a_stream(volume: NDArray[np.uint8]) -> LabelTables:
    labeller = StreamingLabeller(parameters_of(volume))
    for z, plane in enumerate(volume):
        labeller.add(z, plane)
    return labeller.finish()


def ours(volume: NDArray[np.uint8], map_blocks: MapBlocks = map) -> Labelled:
    """Clean the volume in place and return it with its largest chromosomes."""
    tables = label_volume(volume, parameters_of(volume), map_blocks)
    clean_volume(tables, volume)
    chromosomes = components_of(tables, CHROMOSOMES, N_LARGEST)
    largest = np.zeros(volume.shape, np.uint8)
    paint_volume(tables, largest, chromosomes.label_of_object.astype(np.uint8), chromosomes.label_of_object > 0)
    return Labelled(volume, largest)


def theirs(volume: NDArray[np.uint8]) -> Labelled:
    """Do the same with scikit-image and cc3d, in place as well."""
    for class_id, least in MIN_VOXELS.items():
        of_class = volume == class_id
        volume[of_class & ~remove_small_objects(of_class, max_size=least - 1, connectivity=3)] = 0
    return Labelled(volume, cc3d.largest_k(np.isin(volume, CHROMOSOMES), k=N_LARGEST, connectivity=26))


def painted(tables: LabelTables, volume: NDArray[Any]) -> NDArray[np.uint32]:
    """Return a number for each object under its voxels."""
    out = np.zeros(volume.shape, np.uint32)
    paint_volume(
        tables, out, np.arange(1, tables.objects.size + 1, dtype=np.uint32), np.ones(tables.objects.size, np.bool_)
    )
    return out


def labelled_as_a_whole(volume: NDArray[Any]) -> NDArray[np.uint32]:
    return painted(label_volume(volume, parameters_of(volume)), volume)


def timed(work: Callable[[], Result]) -> tuple[Result, Timed]:
    gc.collect()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = work()
    return result, Timed(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def same_partition(a: NDArray[np.integer], b: NDArray[np.integer]) -> bool:
    """Whether two label volumes are equal up to numbers, the background included."""
    return _follows(a, b) and _follows(b, a) and np.array_equal(a == 0, b == 0)


def _follows(a: NDArray[np.integer], b: NDArray[np.integer]) -> bool:
    """Whether the label in ``b`` is the same wherever ``a`` is."""
    label_of = np.zeros(int(a.max(initial=0)) + 1, np.int64)
    label_of[a.ravel()] = b.ravel()
    return all(np.array_equal(label_of[in_a], in_b) for in_a, in_b in zip(a, b, strict=True))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def report(name: str, runs: list[Timed], n_voxels: int) -> None:
    wall_s, cpu_s = (statistics.median(values) for values in zip(*runs, strict=True))
    rate = f"{n_voxels / cpu_s / 1e6:8.1f} Mvox/s"
    say(f"  {name:<45} {wall_s * 1e3:9.0f} ms wall {cpu_s * 1e3:9.0f} ms cpu {rate} of cpu")


def ratio(name: str, mine: list[float], other: list[float]) -> None:
    """Say the median ratio of a round, and all of them."""
    ratios = [b / a for a, b in zip(mine, other, strict=True)]
    say(f"  ratio, {name}: {statistics.median(ratios):.1f} (rounds: {', '.join(f'{r:.1f}' for r in ratios)})")


def bench_clean(arguments: argparse.Namespace) -> None:
    volume = five_class_volume(arguments.side)
    one_core, two_cores, other = [], [], []
    for _ in range(arguments.repeat):
        copies = [volume.copy() for _ in range(3)]
        found, run = timed(partial(ours, copies[0]))
        one_core.append(run)
        with ThreadPoolExecutor(2) as pool:
            threaded, run = timed(partial(ours, copies[1], pool.map))
        two_cores.append(run)
        expected, run = timed(partial(theirs, copies[2]))
        other.append(run)
        for mine in (found, threaded):
            if not np.array_equal(mine.cleaned, expected.cleaned):
                raise SystemExit("cleaned volumes differ")
            if not same_partition(mine.largest, expected.largest):
                raise SystemExit("largest components differ")
    say(f"clean three classes, {N_LARGEST} largest chromosomes, {arguments.side}^3, five classes, equal:")
    report("ours, one core", one_core, volume.size)
    report("ours, two threads", two_cores, volume.size)
    report("skimage remove_small_objects + cc3d.largest_k", other, volume.size)
    ratio("one core, processor time", [run.cpu_s for run in one_core], [run.cpu_s for run in other])
    ratio("one core, wall time", [run.wall_s for run in one_core], [run.wall_s for run in other])
    ratio("two threads, wall time", [run.wall_s for run in two_cores], [run.wall_s for run in other])


SIDES: dict[str, Callable[[NDArray[np.uint8]], Labelled]] = {"ours": ours, "theirs": theirs}


def bench_memory(arguments: argparse.Namespace) -> None:
    """Run each side in a process of its own and compare what they took beyond the volume."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.npy"
        np.save(path, five_class_volume(arguments.side))
        extra = {}
        for side in SIDES:
            extra[side] = extra_peak_mb(
                [sys.executable, "-m", __spec__.name, "one-side", "--volume", str(path), "--of", side]
            )
    say(f"extra peak memory, volume of {arguments.side}^3 given and cleaned in place:")
    for side, megabytes in extra.items():
        say(f"  {side:<10} {megabytes:8.0f} MB")
    say(
        f"  ours takes {extra['ours'] / extra['theirs']:.3f} of theirs; the result of up to "
        f"{arguments.side**3 / 1e6:.0f} MB is included"
    )


def extra_peak_mb(command: list[str]) -> float:
    """Run a side, which says when it has its volume and waits for leave, and look at its memory every 2 ms."""
    nap = threading.Event()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            raise SystemExit(f"{command} did not begin")
        before = peak = resident_bytes(child.pid)
        child.stdin.write("go\n")
        child.stdin.flush()
        while child.poll() is None:
            peak = max(peak, resident_bytes(child.pid))
            nap.wait(0.002)
    if child.returncode:
        raise SystemExit(f"{command} failed")
    return (peak - before) / 1e6


def measure_one_side(arguments: argparse.Namespace) -> None:
    side = SIDES[arguments.of]
    side(five_class_volume(48))
    volume = np.load(arguments.volume)
    say("ready")
    sys.stdin.readline()
    side(volume)


def resident_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def bench_slices(arguments: argparse.Namespace) -> None:
    volume = five_class_volume(arguments.side)
    runs = [timed(lambda: labelled_in_a_stream(volume))[1] for _ in range(arguments.repeat)]
    say(f"slice by slice, {arguments.side}^3, five classes, all objects, one core:")
    report("ours", runs, volume.size)
    if importlib.util.find_spec("crackle") is None:
        say("  cc3d.connected_components_stack needs connected-components-3d[stack], left out")
        return
    volume = five_class_volume(arguments.stack_side)

    def stacked() -> Any:
        slabs = (np.asfortranarray(plane[:, :, np.newaxis]) for plane in volume)
        return cc3d.connected_components_stack(slabs, connectivity=26)

    mine, other = [], []
    for _ in range(arguments.repeat):
        tables, run = timed(lambda: labelled_in_a_stream(volume))
        mine.append(run)
        stack, run = timed(stacked)
        other.append(run)
        if not same_partition(np.moveaxis(painted(tables, volume), 0, -1), np.asarray(stack.decompress())):
            raise SystemExit("labels differ")
    say(f"slice by slice, {arguments.stack_side}^3, both sides, equal:")
    report("ours", mine, volume.size)
    report("cc3d.connected_components_stack, slabs of 1", other, volume.size)
    ratio("processor time", [run.cpu_s for run in mine], [run.cpu_s for run in other])


def dense_cells(side: int) -> NDArray[np.uint32]:
    """Return a volume without background: cells round random points, each with a label of its own."""
    points = np.random.default_rng(7).uniform(0, side, (max(8, side**3 // 40_000), 3))
    marks = np.zeros((side,) * 3, np.uint32)
    marks[tuple(points.astype(int).T)] = np.arange(1, len(points) + 1)
    nearest = ndimage.distance_transform_edt(marks == 0, return_distances=False, return_indices=True)
    return np.array(marks[tuple(nearest)])


def bench_dense(arguments: argparse.Namespace) -> None:
    side = arguments.dense_side
    rng = np.random.default_rng(2)
    volumes: dict[str, NDArray[Any]] = {
        "dense cells, a label each": dense_cells(side),
        "random noise of 5 classes": rng.integers(0, 5, (side,) * 3).astype(np.uint8),
        "random noise of 256 values": rng.integers(0, 256, (side,) * 3).astype(np.uint8),
    }
    for name, volume in volumes.items():
        mine, other = [], []
        for _ in range(arguments.repeat):
            found, run = timed(partial(labelled_as_a_whole, volume))
            mine.append(run)
            expected, run = timed(partial(cc3d.connected_components, volume, connectivity=26, out_dtype=np.uint32))
            other.append(run)
            if not same_partition(found, expected):
                raise SystemExit(f"labels differ: {name}")
        say(f"{name}, {side}^3, labels of all objects with their statistics, equal:")
        report("ours", mine, volume.size)
        report("cc3d.connected_components (labels alone)", other, volume.size)
        ratio("processor time", [run.cpu_s for run in mine], [run.cpu_s for run in other])


def nucleus_planes() -> Iterator[NDArray[np.uint8]]:
    """Yield the planes of a nucleus with features of 4 voxels and more, and fresh specks of one pixel in each."""
    coarse = five_class_volume(428)
    rng = np.random.default_rng(5)
    depth, height, width = NUCLEUS_ZYX
    for z in range(depth):
        plane = np.repeat(np.repeat(coarse[z * len(coarse) // depth], CELL, axis=0), CELL, axis=1)[
            :height, :width
        ].copy()
        specks = rng.integers(0, height * width, height * width // 2000)
        plane.ravel()[specks] = 2
        yield plane


def bench_nucleus(_arguments: argparse.Namespace) -> None:
    planes = nucleus_planes()
    first = next(planes)
    warm = five_class_volume(48)
    ours(warm)
    labelled_in_a_stream(warm)
    before = resident_bytes()
    labeller = StreamingLabeller(parameters_of(first[np.newaxis]))
    wall_s, cpu_s, peak = 0.0, 0.0, 0
    for z, plane in enumerate(planes):
        _, run = timed_quickly(partial(labeller.add, z, plane))
        wall_s, cpu_s = wall_s + run.wall_s, cpu_s + run.cpu_s
        peak = max(peak, resident_bytes())
    out, labels = np.empty_like(first), np.empty(first.shape, np.uint32)

    def rest() -> LabelTables:
        tables = labeller.finish()
        chromosomes = components_of(tables, CHROMOSOMES, N_LARGEST)
        for window in tables.windows():
            tables.cleaned_plane(window.z, removed_value=0, out=out)
            chromosomes.paint_plane(window.z, labels)
        return tables

    tables, run = timed_quickly(rest)
    peak = max(peak, resident_bytes())
    say(f"nucleus of {NUCLEUS_ZYX} voxels, slice by slice, one core:")
    say(
        f"  labelling {wall_s:.1f} s wall, {cpu_s:.1f} s cpu; "
        f"finishing, cleaned planes and {N_LARGEST} largest painted "
        f"{run.wall_s:.1f} s wall, {run.cpu_s:.1f} s cpu; together {wall_s + run.wall_s:.1f} s wall, "
        f"{cpu_s + run.cpu_s:.1f} s cpu"
    )
    say(
        f"  {sum(block.start.size for block in tables.blocks)} runs, {tables.objects.size} objects, "
        f"{(peak - before) / 1e6:.0f} MB resident above the planes' generator, snapshot "
        f"{len(tables.to_bytes()) / 1e6:.0f} MB"
    )


def timed_quickly(work: Callable[[], Result]) -> tuple[Result, Timed]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = work()
    return result, Timed(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def differences(volume: NDArray[Any], connectivity: int, block_planes: int) -> list[str]:
    """Return what differs between ours, `cc3d` and `scipy` on one volume: partition, counts, statistics."""
    parameters = LabellingParameters(
        canvas_shape_yx=volume.shape[1:],
        connectivity=connectivity,
        plane_type=volume.dtype.name,
        block_planes=block_planes,
    )
    tables = label_volume(volume, parameters)
    found = painted(tables, volume)
    expected, count = cc3d.connected_components(
        volume,
        connectivity=connectivity,
        out_dtype=np.uint32,
        return_N=True,  # type: ignore[call-overload]
    )
    wrong = [] if same_partition(found, expected) else ["partition, cc3d"]
    if count != tables.objects.size:
        wrong.append("count, cc3d")
    if not wrong:
        wrong += _differing_statistics(tables, found, expected)
    if np.unique(volume[volume > 0]).size == 1:
        structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
        if not np.array_equal(ndimage.label(volume, structure)[0], found):
            wrong.append("labels, scipy")
    return wrong


def _differing_statistics(tables: LabelTables, found: NDArray[np.uint32], expected: NDArray[Any]) -> list[str]:
    of_theirs = np.zeros(tables.objects.size, np.int64)
    of_theirs[found[found > 0] - 1] = expected[found > 0]
    theirs = cc3d.statistics(expected, no_slice_conversion=True)
    rows = tables.objects
    boxes = np.stack([rows[name] for name in ("z0", "z1", "y0", "y1", "x0", "x1")], axis=1)
    boxes[:, 1::2] -= 1
    wrong = []
    if not np.array_equal(rows["voxels"], theirs["voxel_counts"][of_theirs]):
        wrong.append("voxels, cc3d.statistics")
    if not np.array_equal(boxes, theirs["bounding_boxes"][of_theirs]):
        wrong.append("boxes, cc3d.statistics")
    if not np.allclose(moments(rows)[0], theirs["centroids"][of_theirs], rtol=1e-5):
        wrong.append("centroids, cc3d.statistics")
    return wrong


def made_volumes() -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield random and adversarial volumes of many shapes and types."""
    rng = np.random.default_rng(12)
    for round_ in range(12):
        shape = tuple(int(side) for side in rng.integers(1, 60, 3))
        for make in MAKERS:
            volume = make(shape, rng)  # type: ignore[arg-type]
            yield f"{make.__name__} {shape}", volume
            yield f"{make.__name__} binary {shape}", (volume > 1).astype(np.uint8)
            yield f"{make.__name__} wide {shape}", volume.astype(np.uint32) << (20 if round_ % 2 else 3)
    many = np.zeros((2, 600, 600), np.uint8)
    many[:, ::2, ::2] = 1
    yield "90,000 objects in a plane", many
    apart = np.zeros((7, 300, 300), np.uint8)
    apart[::2, ::2, ::2] = 1
    yield "90,000 objects of one voxel", apart
    yield "five classes 128^3", five_class_volume(128)
    yield "dense cells 96^3", dense_cells(96)


def real_volumes(data: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    for path in sorted((data / "urocell").glob("*.npz")):
        with np.load(path) as arrays:
            for name in arrays.files:
                volume = np.ascontiguousarray(arrays[name])
                yield f"{path.name}:{name}", volume.astype(np.uint32)
                yield f"{path.name}:{name} binary", (volume > 0).astype(np.uint8)
    neurons = tifffile.imread(next((data / "fib25").glob("sample2_neurons*.tif")))
    yield "fib25 neurons", neurons.astype(np.uint32)
    raw = tifffile.imread(next((data / "fib25").glob("sample2_raw*.tif")))
    yield "fib25 dark pixels", (raw < 90).astype(np.uint8)
    yield "hela labels3d", tifffile.imread(next((data / "hela").glob("labels3d*.tif"))).astype(np.uint8)


def bench_proof(arguments: argparse.Namespace) -> None:
    sources = [("made", made_volumes())] + ([("real", real_volumes(arguments.data))] if arguments.data else [])
    for kind, volumes in sources:
        tried, voxels, failed = 0, 0, []
        for name, volume in volumes:
            for connectivity in (6, 18, 26):
                wrong = differences(volume, connectivity, block_planes=(5, 32)[tried % 2])
                tried, voxels = tried + 1, voxels + volume.size
                failed += [f"{name}, {connectivity}: {what}" for what in wrong]
            if kind == "real":
                say(f"  {name}: {volume.shape} {volume.dtype}, three connectivities")
        say(f"{kind}: {tried} labellings of {voxels / 1e6:.0f} Mvox against cc3d and scipy, {len(failed)} differences")
        for line in failed:
            say(f"  {line}")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "clean": bench_clean,
    "memory": bench_memory,
    "slices": bench_slices,
    "dense": bench_dense,
    "nucleus": bench_nucleus,
    "proof": bench_proof,
    "one-side": measure_one_side,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--side", type=int, default=512, help="of the volumes to label")
    parser.add_argument("--stack-side", type=int, default=128, help="of the volume for connected_components_stack")
    parser.add_argument("--dense-side", type=int, default=256, help="of the dense volumes")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--data", type=Path, help="folder of the real volumes")
    parser.add_argument("--volume", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--of", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    ours(five_class_volume(32))
    labelled_in_a_stream(five_class_volume(32))
    say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}") if arguments.part != "one-side" else None
    PARTS[arguments.part](arguments)


if __name__ == "__main__":
    main()
