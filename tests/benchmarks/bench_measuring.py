"""Errors of ways to measure areas and lengths on bodies of known size, and time and memory of measuring a nucleus.

    python tests/benchmarks/bench_measuring.py [--nucleus]

trimesh and skan are asked where they are installed. With `--nucleus` it measures a phantom nucleus at 16 nm, alone in
its process.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from services.components.measuring.centreline import tracks
from services.components.measuring.lattice import Lattice
from services.components.measuring.surface import face_areas
from tests.support.analytic_shapes import Mask, Voxel, ball, ellipsoid, ellipsoid_area, helix, ribbon, rod, torus
from tests.support.phantom_nucleus import measured_phantom

VOXELS: tuple[Voxel, ...] = ((16.0, 16.0, 16.0), (24.0, 16.0, 16.0))
Ways = Mapping[str, Callable[[Mask, Voxel], float]]
AXES = (400.0, 250.0, 180.0)


def ours_area(mask: Mask, voxel: Voxel) -> float:
    return float(face_areas(mask.astype(np.uint8), Lattice(voxel)).area_um2[1]) * 1e6


def plain_mesh(mask: Mask, voxel: Voxel) -> float:
    measure = importlib.import_module("skimage.measure")
    vertices, faces, _, _ = measure.marching_cubes(mask.astype(np.float32), 0.5, spacing=voxel)
    return float(measure.mesh_surface_area(vertices, faces))


def taubin_mesh(mask: Mask, voxel: Voxel) -> float:
    trimesh = importlib.import_module("trimesh")
    measure = importlib.import_module("skimage.measure")
    vertices, faces, _, _ = measure.marching_cubes(mask.astype(np.float32), 0.5, spacing=voxel)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    trimesh.smoothing.filter_taubin(mesh, lamb=0.5, nu=0.53, iterations=20)
    return float(mesh.area)


def ours_length(mask: Mask, voxel: Voxel) -> float:
    return 1000 * sum(track.length_um for track in tracks(mask, Lattice(voxel)))


def thinned_length(mask: Mask, voxel: Voxel) -> float:
    skan = importlib.import_module("skan")
    skeleton = skan.Skeleton(importlib.import_module("skimage.morphology").skeletonize(mask), spacing=voxel)
    return float(skan.summarize(skeleton, separator="_")["branch_distance"].sum())


def compare(name: str, exact: float, mask: Mask, voxel: Voxel, ways: Ways) -> None:
    cells = []
    for way, measure in ways.items():
        start = time.process_time()
        try:
            error = f"{100 * (measure(mask, voxel) / exact - 1):+6.2f} %"
        except ModuleNotFoundError:
            error = "not there"
        except ValueError as fault:
            error = f"failed ({type(fault).__name__})"
        cells.append(f"{way} {error} {time.process_time() - start:.2f} s")
    print(f"{name:14} {voxel[0]:g} x {voxel[1]:g} x {voxel[2]:g}   " + "   ".join(cells))


def shapes() -> None:
    areas = {"normals": ours_area, "marching cubes": plain_mesh, "with Taubin": taubin_mesh}
    lengths = {"ours": ours_length, "thinning, skan": thinned_length}
    tilted = (0.5, 0.6, 0.62)
    for voxel in VOXELS:
        compare("ball", 4 * np.pi * 200**2, ball(200, voxel), voxel, areas)
        compare("torus", 4 * np.pi**2 * 400 * 120, torus(400, 120, voxel), voxel, areas)
        compare("ellipsoid", ellipsoid_area(AXES), ellipsoid(AXES, voxel), voxel, areas)
        for name, line, exact in (
            ("rod along x", rod(2000, (0, 0, 1)), 2000.0),
            ("tilted rod", rod(2000, tilted), 2000.0),
            ("twisted rod", rod(3000, tilted, 2500), 3000.0),
            ("helix", helix(400, 700, 1.5), 1.5 * float(np.hypot(2 * np.pi * 400, 700))),
        ):
            compare(name, exact, ribbon(line, 110, 60, voxel)[0], voxel, lengths)


def nucleus() -> None:
    for turn in ("with compilation", "again"):
        found = measured_phantom(16.0, seed=5)
        print(f"{turn}: {found.shape} voxels, {found.cpu_s:.1f} s of one core, {found.wall_s:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process, phantom and libraries included: {peak:.0f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nucleus", action="store_true")
    (nucleus if parser.parse_args().nucleus else shapes)()
