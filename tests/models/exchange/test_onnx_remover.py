"""Networks in ONNX files: small graphs of a few operators, whose results can be computed by hand."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from unclouded.errors import InputError
from unclouded.models.exchange.mlm import NETWORK, ValueScaling, read_description
from unclouded.models.exchange.onnx_graph import check_onnx
from unclouded.models.loading import load_remover
from unclouded.models.network import level_of
from unclouded.prediction.remover_remarks import remarks_on
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation

BANDS = ("VV", *RGB, "cloud_map")
"""Channels of the networks."""


def pick(offset: float = 0.0) -> list[Any]:
    """A 1 x 1 convolution that returns red, green and blue, plus a constant."""
    weight = np.zeros((3, 5, 1, 1), np.float32)
    weight[[0, 1, 2], [1, 2, 3]] = 1.0
    return [weight, np.full(3, offset, np.float32)]


def blur() -> list[Any]:
    """A 3 x 3 mean of red, green and blue."""
    weight = np.zeros((3, 5, 3, 3), np.float32)
    weight[[0, 1, 2], [1, 2, 3]] = 1 / 9
    return [weight, np.zeros(3, np.float32)]


def network(weights: list[Any], size: int | str = "side", after: tuple[Any, ...] = ()) -> onnx.ModelProto:
    """A convolution, followed by other operators; every input has the name of the output before."""
    kernel = weights[0].shape[-1] // 2
    convolution = helper.make_node("Conv", ["image", "weight", "bias"], ["clear"], pads=[kernel] * 4)
    nodes = [convolution, *after]
    sizes = [size, size] if isinstance(size, int) else ["rows", "columns"]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 5, *sizes])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [1, 3, *sizes])],
        [numpy_helper.from_array(array, name) for array, name in zip(weights, ("weight", "bias"), strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def description(side: int = -1, output: str = "clear", **use: Any) -> dict[str, Any]:
    order = ["batch", "channel", "height", "width"]

    def array(channels: int) -> dict[str, Any]:
        return {"shape": [1, channels, side, side], "dim_order": order, "data_type": "float32"}

    return {
        "mlm:name": "tiny",
        "mlm:architecture": "convolution",
        "mlm:tasks": ["generative"],
        "mlm:input": [{"name": "image", "bands": list(BANDS), "input": array(5)}],
        "mlm:output": [{"name": output, "tasks": ["generative"], "result": array(3)}],
        NETWORK: {"output_bands": list(RGB), "margin_px": 1, "stride_px": 1} | use,
    }


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes a network with its description."""

    def save(model: onnx.ModelProto, described: dict[str, Any], name: str = "tiny") -> Path:
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        path.with_suffix(".json").write_text(json.dumps(described))
        return path

    return save


def seen(side: int = 24) -> Observation:
    rng = torch.Generator().manual_seed(1)
    sar, cloudy = -20 * torch.rand(1, 2, side, side, generator=rng), torch.rand(1, 3, side, side, generator=rng)
    return Observation(sar, cloudy, (torch.rand(1, 1, side, side, generator=rng) > 0.5).float(), RGB)


@pytest.mark.parametrize(
    ("scaling", "scaled"),
    [
        (None, 3.0),
        ("min-max", 0.5),  # (3 - 1) / (5 - 1)
        ("z-score", -1.0),  # (3 - 5) / 2
        ("offset", 1.0),  # 3 - 2
        ("scale", 1.5),  # 3 / 2
    ],
)
def test_scaling_and_its_inverse(scaling: Any, scaled: float) -> None:
    one = ValueScaling(type=scaling, minimum=1.0, maximum=5.0, mean=5.0, stddev=2.0, value=2.0)
    assert one.apply(torch.tensor([3.0])).item() == scaled
    assert one.invert(torch.tensor([scaled])).item() == 3.0


def test_clipping() -> None:
    values = torch.tensor([-1.0, 0.5, 2.0])
    for scaling, expected in (
        (ValueScaling(type="clip", minimum=0.0, maximum=1.0), [0.0, 0.5, 1.0]),
        (ValueScaling(type="clip-min", minimum=0.0), [0.0, 0.5, 2.0]),
        (ValueScaling(type="clip-max", maximum=1.0), [-1.0, 0.5, 1.0]),
    ):
        assert scaling.apply(values).tolist() == expected


def test_a_network_gets_scaled_bands_and_its_output_is_scaled_back(saved: Callable[..., Path]) -> None:
    halves = [{"type": "scale", "value": 2.0}]
    described = description(output_scaling=halves, optical_unit="DN", clip={"B04": [0, 5000]})
    described["mlm:input"][0]["value_scaling"] = halves
    remover = load_remover(saved(network(pick(offset=100.0)), described))
    assert (remover.name, remover.bands, remover.margin_px, remover.align_px) == ("tiny", RGB, 1, 1)  # type: ignore[attr-defined]
    observed = seen()
    expected = observed.cloudy.clone()
    expected[:, 0].clamp_(max=0.5)
    expected += 0.02  # (DN / 2 + 100) * 2 / 10,000
    torch.testing.assert_close(remover(observed), expected, atol=1e-6, rtol=0)


def test_pixels_without_data_are_filled_for_the_network_and_have_no_result(saved: Callable[..., Path]) -> None:
    observed = seen()
    observed.cloudy[0, 1, 5, 5] = torch.nan
    observed.sar[0, 0, 9, 9] = torch.nan
    result = load_remover(saved(network(blur()), description()))(observed)
    assert result.isnan().nonzero()[:, 2:].unique(dim=0).tolist() == [[5, 5], [9, 9]]


def test_fixed_tiles_give_the_image_of_the_whole(saved: Callable[..., Path]) -> None:
    whole = load_remover(saved(network(blur()), description()))
    tiles = load_remover(saved(network(blur(), 16), description(16), "tiles"))
    observed = seen(41)
    torch.testing.assert_close(tiles(observed)[..., 1:-1, 1:-1], whole(observed)[..., 1:-1, 1:-1])
    assert tiles(seen(9)).shape == (1, 3, 9, 9)  # smaller than a tile


def test_level_of_a_description_counts(saved: Callable[..., Path]) -> None:
    assert level_of(load_remover(saved(network(pick()), description(level="L2A")))) == "L2A"


def window(side: int = 128) -> Observation:
    """Ground of 0.1 to 0.2 from left to right, with a cloud in the middle rows."""
    cloudy = torch.linspace(0.1, 0.2, side).expand(1, 3, side, side).clone()
    cloud_map = torch.zeros(1, 1, side, side)
    cloud_map[:, :, side // 2 : side // 2 + 8] = 1.0
    return Observation(torch.full((1, 2, side, side), -10.0), cloudy, cloud_map, RGB)


def remarks(path: Path) -> list[str]:
    remover = load_remover(path)
    return list(remarks_on([remover], [remover], [window()]))


def test_a_network_that_normalises_by_its_input_is_found_by_two_windows(saved: Callable[..., Path]) -> None:
    mean = helper.make_node("ReduceMean", ["clear"], ["mean"], axes=[2, 3], keepdims=1)
    centred = helper.make_node("Sub", ["clear", "mean"], ["centred"])
    level = [{"type": "offset", "value": 0.15}]
    model = network(pick(), after=(mean, centred))
    (remark,) = remarks(saved(model, description(output="centred", output_scaling=level)))
    assert "tiny depends on the window" in remark and "seam index" in remark
    # between two columns the ground rises by one step, and the means of the halves, 65 columns each, by 63 steps
    assert float(remark.split("seam index ")[1].split(" ")[0]) == pytest.approx(62.0, abs=0.1)
    assert remarks(saved(network(blur()), description())) == []


def test_a_wrong_scaling_is_found_on_clear_pixels(saved: Callable[..., Path]) -> None:
    (remark,) = remarks(saved(network(pick()), description(output_scaling=[{"type": "scale", "value": 5.0}])))
    assert "tiny changes clear pixels" in remark


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        load_remover(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("mlm:input"), "mlm:input"),
        (lambda d: d.pop(NETWORK), NETWORK),
        (lambda d: d["mlm:input"][0].update(name="picture"), "has the inputs 'picture', and"),
        (lambda d: d["mlm:input"][0].update(bands=["VV", *RGB]), "shape has 5 channels, and bands has 4"),
        (lambda d: d["mlm:input"][0].update(bands=["VV", "HH", *RGB]), "bands has 'HH'"),
        (lambda d: d["mlm:input"][0].update(bands=["B04", "B04", "B03", "B02", "VV"]), "bands has one twice"),
        (lambda d: d["mlm:input"][0].update(value_scaling=[{"type": "min-max"}]), "needs minimum and maximum"),
        (lambda d: d["mlm:input"][0].update(value_scaling=[{"type": "processing"}]), "value_scaling"),
        (lambda d: d["mlm:input"][0].update(value_scaling=[{"type": None}] * 2), "has 2 entries, expected 1 or 5"),
        (lambda d: d["mlm:input"][0].update(pre_processing_function={"format": "python"}), "pre_processing_function"),
        (lambda d: d["mlm:input"][0]["input"].update(dim_order=["batch", "height", "width", "channel"]), "dim_order"),
        (lambda d: d["mlm:input"][0]["input"].update(shape=[1, 5, -1, 64]), "both height and width fixed, or both"),
        (lambda d: d["mlm:output"][0].update(name="cloud"), "has the output 'cloud', and"),
        (lambda d: d[NETWORK].update(output_bands=["B04", "B03", "B08"]), "the optical inputs are B02 B03 B04"),
        (lambda d: d[NETWORK].update(margin_px=-1), "margin_px"),
        (lambda d: d[NETWORK].update(radar_unit="DN"), "radar_unit"),
        (lambda d: d[NETWORK].update(clip={"B04": [1, 0]}), "a lower and a higher value"),
        (lambda d: d[NETWORK].update(margin=3), "margin"),
    ],
)
def test_a_mistake_in_a_description_is_one_line(
    saved: Callable[..., Path], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    described = description()
    change(described)
    assert message in refusal(saved(network(pick()), described))


def test_a_stac_item_is_read_like_its_properties(saved: Callable[..., Path]) -> None:
    path = saved(network(pick()), {"type": "Feature", "properties": description(), "links": [], "assets": {}})
    assert read_description(path.with_suffix(".json")).bands == RGB


def test_the_description_in_the_documentation_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
    (tmp_path / "network.json").write_text(page.split("```json\n")[1].split("```")[0])
    described = read_description(tmp_path / "network.json")
    assert (described.bands, described.takes_map, described.use.clip["VH"]) == (RGB, True, (-32.5, 0.0))


def test_a_network_without_description_is_refused(saved: Callable[..., Path]) -> None:
    path = saved(network(pick()), description())
    path.with_suffix(".json").unlink()
    assert "lies without its description" in refusal(path)


def with_external_weights(location: str) -> onnx.ModelProto:
    model = network(pick())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def test_weights_in_a_file_beside_it_are_read(saved: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(pick()[0].tobytes())
    path = saved(with_external_weights("weights.bin"), description())
    assert check_onnx(path).external == (tmp_path.resolve() / "weights.bin",)
    assert torch.equal(load_remover(path)(seen()), seen().cloudy)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "C:\\secret.bin", "inner/../../secret.bin", "link.bin", ""]
)
def test_weights_outside_the_folder_are_refused_before_they_are_opened(
    saved: Callable[..., Path], tmp_path: Path, location: str
) -> None:
    secret = tmp_path.parent / "secret.bin"
    secret.write_bytes(pick()[0].tobytes())
    (tmp_path / "link.bin").symlink_to(secret)
    message = refusal(saved(with_external_weights(location), description()))
    assert "outside its folder" in message or "a link out of its folder" in message


def test_operators_of_other_domains_functions_and_loops_are_refused(saved: Callable[..., Path]) -> None:
    node = helper.make_node("Mystery", ["clear"], ["other"], domain="com.example")
    assert "the operator 'Mystery' of 'com.example'" in refusal(saved(network(pick(), after=(node,)), description()))
    loop = helper.make_node("Loop", ["", "", "clear"], ["other"])
    assert "the operator 'Loop', which may run without end" in refusal(
        saved(network(pick(), after=(loop,)), description())
    )
    model = network(pick())
    function = helper.make_function("com.example", "f", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [])
    model.functions.append(function)
    assert "functions or training steps" in refusal(saved(model, description()))


def test_an_operator_in_a_subgraph_is_found(saved: Callable[..., Path]) -> None:
    inner = helper.make_graph(
        [helper.make_node("Mystery", ["clear"], ["z"], domain="com.example")],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    branch = helper.make_node("If", ["clear"], ["other"], then_branch=inner, else_branch=inner)
    assert "the operator 'Mystery'" in refusal(saved(network(pick(), after=(branch,)), description()))


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, remove or repeat some bytes."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(changed)))
        match rng.integers(4):
            case 0:
                changed[at] = int(rng.integers(256))
            case 1:
                del changed[at : at + int(rng.integers(1, 20))]
            case 2:
                changed[at:at] = changed[at : at + int(rng.integers(1, 20))]
            case _:
                changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def try_mutations(path: Path, count: int) -> None:
    """Every mutation loads and predicts, or is refused in one line."""
    rng, refusals = np.random.default_rng(0), list[str]()
    originals = {path: path.read_bytes(), path.with_suffix(".json"): path.with_suffix(".json").read_bytes()}
    for number in range(count):
        target = list(originals)[number % 2]
        target.write_bytes(mutated(originals[target], rng))
        try:
            load_remover(path)(seen(8))
        except InputError as error:
            refusals.append(str(error))
        target.write_bytes(originals[target])
    assert [message for message in refusals if "\n" in message] == [] and len(refusals) > count / 4


def test_mutated_networks_and_descriptions_are_refused_in_one_line(saved: Callable[..., Path]) -> None:
    try_mutations(saved(network(blur()), description()), 200)


@pytest.mark.proof
def test_a_thousand_mutated_networks_and_descriptions(saved: Callable[..., Path]) -> None:
    try_mutations(saved(with_external_weights("weights.bin"), description()), 1000)
    try_mutations(saved(network(blur()), copy.deepcopy(description())), 1000)
