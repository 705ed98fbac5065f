"""The compiled loops that turn runs into pixels."""

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.kernels import BlockRuns, Runs, compiled


@compiled
def paint_runs(plane: NDArray[np.generic], x0: int, runs: Runs, value: NDArray[np.generic]) -> None:
    """Write ``value[node]`` under every run and 0 everywhere else; ``x0`` is the canvas column of the first pixel."""
    height, width = plane.shape
    for row in range(height):
        line = plane[row]
        x = np.int64(0)
        for i in range(runs.row_offset[row], runs.row_offset[row + 1]):
            start = np.int64(runs.start[i]) - x0
            end = np.int64(runs.end[i]) - x0
            line[x:start] = 0
            line[start:end] = value[runs.node[i]]
            x = end
        line[x:width] = 0


@compiled
def paint_chosen(
    planes: NDArray[np.generic], block: BlockRuns, value: NDArray[np.generic], chosen: NDArray[np.bool_]
) -> None:
    """Write ``value[node]`` under the runs whose ``chosen[node]`` is true, and leave everything else.

    ``planes``: shape (planes, y, x), canvas planes from the first one of the block on.
    """
    for p in range(block.z.size):
        first = block.row_base[p]
        for row in range(block.row_base[p + 1] - first - 1):
            line = planes[block.z[p] - block.z[0], block.y0[p] + row]
            for i in range(block.row_offset[first + row], block.row_offset[first + row + 1]):
                if chosen[block.node[i]]:
                    line[block.start[i] : block.end[i]] = value[block.node[i]]
