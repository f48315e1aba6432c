import torch
from torch import Tensor

from unclouded.training.history import HistoryPool


def image(value: float) -> Tensor:
    return torch.full((1, 3, 2, 2), float(value))


def numbers(pool: HistoryPool) -> list[float]:
    return pool.state_dict()["images"].flatten(1)[:, 0].tolist()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_until_it_is_full_each_image_is_kept_and_returned() -> None:
    pool, random = HistoryPool(3), rng()
    assert [pool.draw(image(i), random).flatten()[0].item() for i in (1, 2, 3)] == [1, 2, 3]
    assert numbers(pool) == [1, 2, 3]


def test_then_an_image_is_returned_or_takes_the_place_of_the_one_that_is() -> None:
    pool, random = HistoryPool(3), rng()
    pool.draw(torch.cat([image(i) for i in (1, 2, 3)]), random)
    returned_itself = 0
    for new in range(4, 404):
        before = numbers(pool)
        drawn = pool.draw(image(new), random).flatten()[0].item()
        if drawn == new:
            returned_itself += 1
            assert numbers(pool) == before
        else:
            assert numbers(pool) == [new if number == drawn else number for number in before]
    assert 160 <= returned_itself <= 240  # half of 400, within 4 standard deviations of 10


def test_every_place_is_drawn_from() -> None:
    pool, random = HistoryPool(3), rng()
    for new in range(40):
        pool.draw(image(new), random)
    assert min(numbers(pool)) > 2


def test_a_batch_is_a_row_of_single_images() -> None:
    together, one_by_one = HistoryPool(2), HistoryPool(2)
    images = torch.cat([image(i) for i in range(8)])
    expected, random = [], rng()
    for single in images.split(1):
        expected.append(one_by_one.draw(single, random))
    assert together.draw(images, rng()).equal(torch.cat(expected))


def test_stored_images_carry_no_gradient_and_follow_no_later_change() -> None:
    pool, new = HistoryPool(1), image(1).requires_grad_()
    assert not pool.draw(new, rng()).requires_grad
    new.data.fill_(9)
    assert numbers(pool) == [1]


def test_without_places_every_image_is_returned() -> None:
    pool, random = HistoryPool(0), rng()
    assert [pool.draw(image(i), random).flatten()[0].item() for i in range(5)] == list(range(5))


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    straight, random = HistoryPool(2), rng()
    straight.draw(torch.rand(5, 3, 2, 2, generator=rng(1)), random)
    resumed, later = HistoryPool(2), rng()
    resumed.load_state_dict(straight.state_dict())
    later.set_state(random.get_state())
    for step in range(20):
        new = torch.rand(1, 3, 2, 2, generator=rng(step))
        assert resumed.draw(new, later).equal(straight.draw(new, random))


def test_an_empty_pool_has_a_state_too() -> None:
    resumed = HistoryPool(2)
    resumed.load_state_dict(HistoryPool(2).state_dict())
    assert len(resumed) == 0
