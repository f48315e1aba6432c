import numpy as np

from unclouded.simulation.parcels import Parcels, borders


def points(rows: int, columns: int, angle: float = 0.0) -> Parcels:
    y, x = (axis.ravel().astype(np.float32) for axis in np.mgrid[:rows, :columns])
    return Parcels.whole(x, y, angle)


def test_a_field_is_cut_across_its_longer_side() -> None:
    halves = points(8, 32).cut(np.random.default_rng(0), area=160)
    number = halves.number.reshape(8, 32)
    assert halves.count == 2
    assert (number == number[0]).all()
    assert np.bincount(halves.number).min() >= 8 * 11


def test_a_field_cut_into_strips_is_cut_along_its_longer_side() -> None:
    strips = points(8, 32).cut(np.random.default_rng(0), area=160, strips=1.0)
    number = strips.number.reshape(8, 32)
    assert (number == number[:, :1]).all()


def test_no_parcel_stays_larger_than_one_and_a_half_areas() -> None:
    parcels = points(100, 100, angle=0.4).cut(np.random.default_rng(1), area=120, turn=0.1, strips=0.2)
    sizes = np.bincount(parcels.number)
    assert len(sizes) == parcels.count
    assert 1 <= sizes.min() <= sizes.max() <= 180
    assert sizes.sum() == 100 * 100


def test_cutting_again_stays_within_the_borders() -> None:
    rng = np.random.default_rng(2)
    blocks = points(64, 64).cut(rng, area=1000)
    fields = blocks.cut(rng, area=100)
    of_field = [set(blocks.number[fields.number == field]) for field in range(fields.count)]
    assert fields.count > blocks.count
    assert all(len(found) == 1 for found in of_field)


def test_mean_of_a_parcel_is_the_mean_of_its_points() -> None:
    parcels = Parcels(*np.zeros((2, 4), np.float32), np.array([0, 0, 2, 2]), np.zeros(3, np.float32))
    np.testing.assert_array_equal(parcels.mean(np.array([1, 3, 5, 6], np.float32)), [2, 0, 5.5])


def test_borders_are_one_pixel_wide() -> None:
    number = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 1]])
    np.testing.assert_array_equal(borders(number), [[0, 1, 0], [1, 1, 0], [0, 1, 0]])
