"""The streaming labeller beside what it replaces: both sides in turn, on the same volume, checked equal.

Run it as ``python -m tests.benchmarks.bench_labelling [--side 512] [--stack-side 128] [--repeat 3]``. The second part
needs ``connected-components-3d[stack]``. Ratios are of processor time, which a busy machine disturbs least.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_objects

from services.imaging.labelling import LabellingParameters, LabelTables, StreamingLabeller, components_of

MIN_VOXELS = {2: 2000, 3: 3000, 4: 1000}
CHROMOSOMES = (2, 4)
N_LARGEST = 12

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


def labelled_in_a_stream(volume: NDArray[np.uint8]) -> LabelTables:
    labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=volume.shape[1:], min_voxels=MIN_VOXELS))
    for z, plane in enumerate(volume):
        labeller.add(z, plane)
    return labeller.finish()


def streaming(volume: NDArray[np.uint8]) -> Labelled:
    tables = labelled_in_a_stream(volume)
    chromosomes = components_of(tables, CHROMOSOMES, N_LARGEST)
    label_of_object = chromosomes.label_of_object.astype(np.uint8)
    cleaned, largest = np.empty_like(volume), np.empty_like(volume)
    for z in range(len(volume)):
        tables.cleaned_plane(z, removed_value=0, out=cleaned[z])
        tables.paint_plane(z, label_of_object, out=largest[z])
    return Labelled(cleaned, largest)


def whole(volume: NDArray[np.uint8]) -> Labelled:
    cleaned = volume.copy()
    for class_id, least in MIN_VOXELS.items():
        of_class = volume == class_id
        cleaned[of_class & ~remove_small_objects(of_class, max_size=least - 1, connectivity=3)] = 0
    return Labelled(cleaned, cc3d.largest_k(np.isin(cleaned, CHROMOSOMES), k=N_LARGEST, connectivity=26))


def timed(work: Callable[[NDArray[np.uint8]], Result], volume: NDArray[np.uint8]) -> tuple[Result, Timed]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = work(volume)
    return result, Timed(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def same_partition(a: NDArray[np.integer], b: NDArray[np.integer]) -> bool:
    pairs = np.unique((a.ravel().astype(np.uint64) << np.uint64(32)) | b.ravel().astype(np.uint64))
    left, right = pairs >> np.uint64(32), pairs & np.uint64((1 << 32) - 1)
    one_to_one = np.unique(left).size == pairs.size == np.unique(right).size
    return one_to_one and bool(((left == 0) == (right == 0)).all())


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def report(name: str, ours: list[Timed], theirs: list[Timed], n_voxels: int) -> None:
    """Say the medians of both sides and the median ratio of a round."""
    for side, runs in (("streaming", ours), (name, theirs)):
        wall_s, cpu_s = (statistics.median(values) for values in zip(*runs, strict=True))
        say(f"  {side:<45} {wall_s * 1e3:9.0f} ms wall {cpu_s * 1e3:9.0f} ms cpu {n_voxels / cpu_s / 1e6:8.1f} Mvox/s")
    ratios = [b.cpu_s / a.cpu_s for a, b in zip(ours, theirs, strict=True)]
    say(f"  ratio {statistics.median(ratios):.1f} (rounds: {', '.join(f'{ratio:.1f}' for ratio in ratios)})")


def bench_clean_and_label(side: int, repeat: int) -> None:
    volume = five_class_volume(side)
    tables = labelled_in_a_stream(volume)
    ours, theirs = [], []
    for _ in range(repeat):
        found, ours_run = timed(streaming, volume)
        expected, theirs_run = timed(whole, volume)
        if not np.array_equal(found.cleaned, expected.cleaned):
            raise SystemExit("cleaned volumes differ")
        if not same_partition(found.largest, expected.largest):
            raise SystemExit("largest components differ")
        ours.append(ours_run)
        theirs.append(theirs_run)
    n_runs = sum(block.start.size for block in tables.blocks)
    n_bytes = sum(
        array.nbytes
        for block in tables.blocks
        for array in (block.row_offset, block.start, block.end, block.component, block.components)
    )
    say(f"clean three classes and take the {N_LARGEST} largest chromosomes, {side}^3, five classes, equal:")
    report("skimage remove_small_objects + cc3d.largest_k", ours, theirs, volume.size)
    say(
        f"  {n_runs} runs, {tables.objects.size} objects, tables "
        f"{(n_bytes + tables.objects.nbytes) / 1e6:.1f} MB in memory, {len(tables.to_bytes()) / 1e6:.2f} MB as bytes"
    )


def bench_slice_by_slice(side: int, repeat: int) -> None:
    if importlib.util.find_spec("crackle") is None or importlib.util.find_spec("fastremap") is None:
        say("slice by slice: cc3d.connected_components_stack needs connected-components-3d[stack], left out")
        return
    volume = five_class_volume(side)

    def stacked(volume: NDArray[np.uint8]) -> object:
        slabs = (np.asfortranarray(plane[:, :, np.newaxis]) for plane in np.moveaxis(volume, 0, 0))
        return cc3d.connected_components_stack(slabs, connectivity=26)

    ours, theirs = [], []
    for _ in range(repeat):
        tables, ours_run = timed(labelled_in_a_stream, volume)
        stack, theirs_run = timed(stacked, volume)
        number = np.arange(1, tables.objects.size + 1, dtype=np.uint32)
        found = np.stack([tables.paint_plane(z, number) for z in range(side)], axis=-1)
        if not same_partition(found, np.asarray(stack.decompress())):  # type: ignore[attr-defined]
            raise SystemExit("labels differ")
        ours.append(ours_run)
        theirs.append(theirs_run)
    say(f"slice by slice, {side}^3, five classes, all objects, equal:")
    report("cc3d.connected_components_stack, slabs of 1", ours, theirs, volume.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="of the volume to clean and label")
    parser.add_argument("--stack-side", type=int, default=128, help="of the volume fed slice by slice")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    arguments = parser.parse_args()
    streaming(five_class_volume(32))
    bench_clean_and_label(arguments.side, arguments.repeat)
    bench_slice_by_slice(arguments.stack_side, arguments.repeat)


if __name__ == "__main__":
    main()
