import numpy as np
import pytest
from numpy.typing import NDArray

from services.report.colours import CHROMOSOME_COLOURS
from services.report.fields import EmptyVolumeError
from services.report.rendering import Scene, Subject, prepare, render
from tests.support.results_builder import CHROMOSOME_IDS, VOXEL_NM, nucleus_volumes

Pixels = NDArray[np.uint8]

SIZE_PX = 72


def ranks_of(objects: NDArray[np.uint32]) -> Pixels:
    ranks = np.zeros(objects.shape, np.uint8)
    for rank, object_id in enumerate(CHROMOSOME_IDS, start=1):
        ranks[objects == object_id] = rank
    return ranks


@pytest.fixture(scope="module")
def scene() -> Scene:
    _, classes, objects = nucleus_volumes()
    return prepare(classes, ranks_of(objects), VOXEL_NM)


def opaque(picture: Pixels) -> NDArray[np.float64]:
    """Colours (n, 3), 0..1, of the pixels that hide what is behind them; the scale bar is left out."""
    above_bar = picture[: int(0.86 * picture.shape[0])]
    return np.asarray(above_bar[above_bar[..., 3] > 250, :3] / 255.0)


def share_like(picture: Pixels, colour: tuple[int, int, int]) -> float:
    """Share of the opaque pixels whose hue is about that of a colour."""
    pixels, wanted = opaque(picture), np.array(colour) / 255.0
    chroma = pixels - pixels.mean(axis=1, keepdims=True)
    aim = wanted - wanted.mean()
    likeness = (chroma @ aim) / (np.linalg.norm(chroma, axis=1) * np.linalg.norm(aim) + 1e-9)
    return float(((likeness > 0.9) & (np.linalg.norm(chroma, axis=1) > 0.1)).mean())


YELLOW, GREEN, BLUE = (242, 194, 48), (47, 158, 86), (47, 98, 224)


@pytest.mark.parametrize("subject", list(Subject))
def test_a_picture_has_the_size_asked_for_and_shows_something_on_a_transparent_ground(
    scene: Scene, subject: Subject
) -> None:
    picture = render(scene, subject, SIZE_PX)
    assert picture.shape == (SIZE_PX, SIZE_PX, 4)
    assert picture.dtype == np.uint8
    assert picture[0, 0, 3] == 0
    assert len(np.unique(opaque(picture), axis=0)) > 30


def test_classes_have_the_colours_of_the_manuscript(scene: Scene) -> None:
    picture = render(scene, Subject.EVERYTHING, 2 * SIZE_PX)
    assert share_like(picture, YELLOW) > 0.2
    assert share_like(picture, GREEN) > 0.05
    assert share_like(picture, BLUE) > 0.005


def test_a_picture_shows_its_subject_alone(scene: Scene) -> None:
    chromosomes, complexes = (render(scene, s, SIZE_PX) for s in (Subject.CHROMOSOMES, Subject.COMPLEXES))
    assert share_like(chromosomes, YELLOW) > 0.95
    assert share_like(complexes, BLUE) > 0.85


def test_the_membrane_is_grey(scene: Scene) -> None:
    pixels = opaque(render(scene, Subject.MEMBRANE, SIZE_PX))
    assert (pixels.max(axis=1) - pixels.min(axis=1)).max() < 0.15


def test_single_chromosomes_have_colours_of_their_own(scene: Scene) -> None:
    picture = render(scene, Subject.INDIVIDUALS, 2 * SIZE_PX)
    assert sum(share_like(picture, colour) > 0.002 for colour in CHROMOSOME_COLOURS) >= 10


def test_the_same_volume_gives_the_same_picture_on_any_number_of_threads(scene: Scene) -> None:
    first = render(scene, Subject.EVERYTHING, SIZE_PX, workers=1)
    _, classes, objects = nucleus_volumes()
    again = render(prepare(classes, ranks_of(objects), VOXEL_NM), Subject.EVERYTHING, SIZE_PX, workers=3)
    np.testing.assert_array_equal(first, again)


def test_empty_space_round_a_nucleus_changes_nothing(scene: Scene) -> None:
    _, classes, objects = nucleus_volumes()
    room = [(7, 30), (50, 3), (0, 41)]
    roomy = prepare(np.pad(classes, room), np.pad(ranks_of(objects), room), VOXEL_NM)
    np.testing.assert_array_equal(
        render(scene, Subject.INDIVIDUALS, SIZE_PX), render(roomy, Subject.INDIVIDUALS, SIZE_PX)
    )


def test_an_empty_volume_cannot_be_drawn() -> None:
    nothing = np.zeros((4, 5, 6), np.uint8)
    with pytest.raises(EmptyVolumeError, match="no labelled voxel"):
        prepare(nothing, nothing, VOXEL_NM)


def centre_of(picture: Pixels, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Mean (row, column), as shares of the picture, of the pixels nearest in hue to a colour."""
    rgb = picture[..., :3].astype(float) / 255.0
    chroma = rgb - rgb.mean(axis=2, keepdims=True)
    aim = np.array(colour) / 255.0
    aim -= aim.mean()
    likeness = (chroma @ aim) / (np.linalg.norm(chroma, axis=2) * np.linalg.norm(aim) + 1e-9)
    rows, columns = np.nonzero((likeness > 0.9) & (picture[..., 3] > 250))
    return float(rows.mean()) / picture.shape[0], float(columns.mean()) / picture.shape[1]


def ball(shape_zyx: tuple[int, int, int], centre_zyx: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
    grid = np.indices(shape_zyx)
    return np.asarray(sum((axis - c) ** 2 for axis, c in zip(grid, centre_zyx, strict=True)) < radius**2)


@pytest.mark.parametrize(
    ("centre_zyx", "is_at"),
    [
        ((24, 8, 24), lambda row, _: row < 0.4),
        ((24, 40, 24), lambda row, _: row > 0.6),
        ((24, 24, 8), lambda _, column: column < 0.4),
        ((24, 24, 40), lambda _, column: column > 0.6),
    ],
    ids=["low y is up", "high y is down", "low x is left", "high x is right"],
)
def test_a_picture_is_not_mirrored(centre_zyx: tuple[int, int, int], is_at: object) -> None:
    classes = np.where(ball((49, 49, 49), (24, 24, 24), 23), 1, 0).astype(np.uint8)
    classes[ball(classes.shape, centre_zyx, 6)] = 2
    scene = prepare(classes, np.zeros_like(classes), (80.0, 80.0, 80.0))
    assert callable(is_at)
    assert is_at(*centre_of(render(scene, Subject.CHROMOSOMES, SIZE_PX), YELLOW))


def test_the_front_of_a_nucleus_is_its_first_slice() -> None:
    classes = np.where(ball((49, 49, 49), (24, 24, 24), 23), 1, 0).astype(np.uint8)
    classes[ball(classes.shape, (24, 24, 24), 16)] = 3
    classes[ball(classes.shape, (7, 24, 24), 5)] = 2
    front = prepare(classes, np.zeros_like(classes), (80.0, 80.0, 80.0))
    back = prepare(classes[::-1].copy(), np.zeros_like(classes), (80.0, 80.0, 80.0))
    seen, hidden = (share_like(render(s, Subject.EVERYTHING, SIZE_PX), YELLOW) for s in (front, back))
    assert seen > 2 * hidden


def test_voxels_longer_in_z_do_not_stretch_a_nucleus() -> None:
    cube = np.where(ball((60, 60, 60), (30, 30, 30), 27), 2, 0).astype(np.uint8)
    flat = cube[::2].copy()
    pictures = [
        render(prepare(volume, np.zeros_like(volume), voxel_nm), Subject.CHROMOSOMES, SIZE_PX)
        for volume, voxel_nm in ((cube, (50.0, 50.0, 50.0)), (flat, (100.0, 50.0, 50.0)))
    ]
    covered = [int((picture[..., 3] > 128).sum()) for picture in pictures]
    assert covered[1] == pytest.approx(covered[0], rel=0.05)
