"""No format holds a volume: the peak of a process that exports one stays far below its size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import zarr

from tests.support.results_builder import build_results

SHAPE = (192, 2048, 2048)
VOLUME_MIB = SHAPE[0] * SHAPE[1] * SHAPE[2] * (1 + 1 + 4) / 2**20
MOST_MIB = 700

# Every chunk but a few is empty, as in a real volume; what is read back from disk is as large as if it were not.
GROW = """
import resource, sys
from pathlib import Path
from services.exports.export import Request, export
import numba, skimage.measure, skimage.morphology, pyarrow.parquet, tensorstore, mrcfile, tifffile, trimesh
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
export(Request(Path(sys.argv[1]), sys.argv[2], label="objects" if sys.argv[2] in {"glb", "swc"} else None))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results whose one volume has 4.5 GiB of voxels; the grey image reaches from its first corner to its last."""
    out = build_results(tmp_path_factory.mktemp("large") / "out")
    group = zarr.open_group(out / "nuclei" / "n0001" / "volume.ome.zarr")
    for name, dtype in (("0", "uint8"), ("labels/classes/0", "uint8"), ("labels/objects/0", "uint32")):
        del group[name]
        array = group.create_array(name, shape=SHAPE, chunks=(32, 256, 256), dtype=dtype)
        if name == "0":
            array[:32, :256] = array[-32:, -256:] = array[:, 512:1024, 512:1024] = 7
        else:
            array[:96, 300:360, 200:1300] = 4 if name.endswith("classes/0") else 101
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ome-zarr-0.4", "ome-zarr-0.5", "neuroglancer", "mrc", "tiff", "glb", "swc"])
def test_the_peak_is_far_below_the_volume(large: Path, name: str) -> None:
    command = [sys.executable, "-c", GROW, str(large), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown_mib = json.loads(done.stdout.splitlines()[-1])
    assert grown_mib < MOST_MIB < VOLUME_MIB / 6
