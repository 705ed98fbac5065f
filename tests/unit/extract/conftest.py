"""Drawn slices: bright nuclei with a dark membrane in noisy cytoplasm, and what may be taken for them."""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

CYTOPLASM, NUCLEOPLASM, MEMBRANE, CHROMATIN = 172.0, 212.0, 110.0, 178.0

Grey = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Disc:
    """An ellipse in nm from the corner of the field; semi-axes along y and x."""

    y_nm: float
    x_nm: float
    semi_y_nm: float
    semi_x_nm: float
    inside: float = NUCLEOPLASM
    membrane: bool = True


def nucleus(y_nm: float, x_nm: float, radius_nm: float = 1800.0, stretch: float = 1.0) -> Disc:
    return Disc(y_nm, x_nm, radius_nm * stretch, radius_nm / stretch)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A slice to be drawn."""

    shape: tuple[int, int]
    voxel_nm: float
    discs: tuple[Disc, ...]
    noise: float = 9.0
    seed: int = 0
    gaps: float = 0.0

    def grey(self) -> Grey:
        rng = np.random.default_rng(self.seed)
        texture = cv2.GaussianBlur(rng.normal(size=self.shape), (0, 0), 24.0 / self.voxel_nm)
        plane = CYTOPLASM + 10.0 * texture / texture.std()
        y, x = (
            (axis + 0.5) * self.voxel_nm for axis in np.mgrid[0 : self.shape[0], 0 : self.shape[1]].astype(np.float64)
        )
        for disc in self.discs:
            dy, dx = y - disc.y_nm, x - disc.x_nm
            radius = np.hypot(dy / disc.semi_y_nm, dx / disc.semi_x_nm)
            depth_nm = (radius - 1) * (disc.semi_y_nm + disc.semi_x_nm) / 2
            plane[depth_nm < 0] = disc.inside
            if disc.membrane:
                ring = np.abs(depth_nm) < max(23.0, 0.6 * self.voxel_nm)
                open_part = np.sin(np.arctan2(dy, dx) * 7.0) < -1 + 2 * self.gaps
                plane[ring & ~open_part] = MEMBRANE
            if disc.inside == NUCLEOPLASM:
                for k in range(5):
                    angle = k * 1.3 + self.seed
                    at = (
                        disc.y_nm + 0.55 * disc.semi_y_nm * np.sin(angle),
                        disc.x_nm + 0.55 * disc.semi_x_nm * np.cos(angle),
                    )
                    plane[np.hypot(y - at[0], x - at[1]) < 250.0] = CHROMATIN
        noisy = cv2.GaussianBlur(plane, (0, 0), 0.5) + rng.normal(size=self.shape) * self.noise
        return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


@pytest.fixture
def draw() -> Callable[..., Grey]:
    """Draw discs on a field of 560 by 720 pixels of 16 nm, or as asked."""

    def drawn(*discs: Disc, shape: tuple[int, int] = (560, 720), voxel_nm: float = 16.0, **options: float) -> Grey:
        return Drawing(shape, voxel_nm, discs, **options).grey()  # type: ignore[arg-type]

    return drawn


@pytest.fixture
def make_nucleus() -> Callable[..., Disc]:
    return nucleus


@pytest.fixture
def make_disc() -> type[Disc]:
    return Disc
