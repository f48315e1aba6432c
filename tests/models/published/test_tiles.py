import pytest
import torch

from unclouded.models.published.tiles import MARGIN_PX, STEP_PX, blend_tiles


def test_one_tile_is_returned_as_it_is() -> None:
    image = torch.rand(1, 2, 256, 256, generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones(1, 1, 256, 256, dtype=torch.bool)
    assert torch.allclose(blend_tiles(lambda y, x: image[..., y, x], everywhere), image, rtol=1e-6)


def test_result_does_not_depend_on_the_window_though_a_tile_is_one_number() -> None:
    """Each tile predicts its own mean: the extreme of a network with statistics of its tile."""
    height, width = 1000, 300
    scene = torch.rand(1, 1, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def blended(top: int, bottom: int) -> torch.Tensor:
        window = scene[..., top:bottom, :]

        def mean(rows: slice, columns: slice) -> torch.Tensor:
            tile = window[..., rows, columns]
            return tile.mean().expand_as(tile)

        return blend_tiles(mean, torch.ones(1, 1, bottom - top, width, dtype=torch.bool))

    whole = blended(0, height)
    for first, last in ((300, 410), (0, 128), (511, 513), (900, 1000)):
        top = max(first - MARGIN_PX, 0) // STEP_PX * STEP_PX
        bottom = min(-(-(last + MARGIN_PX) // STEP_PX) * STEP_PX, height)
        part = blended(top, bottom)[..., first - top : last - top, :]
        assert torch.allclose(part, whole[..., first:last, :], rtol=0, atol=1e-12)


def test_tiles_without_a_selected_pixel_are_not_computed() -> None:
    needed = torch.zeros(1, 1, 512, 512, dtype=torch.bool)
    needed[..., 10, 500] = True
    computed = []

    def predict(rows: slice, columns: slice) -> torch.Tensor:
        computed.append((rows.start, columns.start))
        return torch.ones(1, 1, 256, 256)

    result = blend_tiles(predict, needed)
    assert computed == [(0, 256)]
    assert result[0, 0, 10, 500] == 1
    assert result[0, 0, 300, 500].isnan()


def test_a_selection_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one needed pixel"):
        blend_tiles(lambda y, x: torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 8, 8, dtype=torch.bool))
