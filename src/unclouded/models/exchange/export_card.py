"""Description and model card of an exported network."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unclouded.errors import InputError
from unclouded.models.card import NOT_STATED
from unclouded.models.cyclegan import STRIDE_PX
from unclouded.models.exchange.mlm import CLOUD_MAP, NETWORK, SCHEMA, Description
from unclouded.models.inference import MARGIN_PX
from unclouded.models.network import NetworkRemover
from unclouded.models.scaling import Interval
from unclouded.sensors import SENTINEL1
from unclouded.settings import Settings, settings_from

Format = Literal["onnx", "openvino", "torch"]
Place = Literal["inside", "outside"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
OUTPUT = "clear"
"""Name of the output."""


class ExportSettings(Settings):
    """What an exported network contains.

    Attributes:
        scaling: Conversion of dB and reflectance to network values and back: inside the network, or outside, where the
            description states it.
        cloud_map: The map m is an input; or ``ones``: m = 1 everywhere, inside the network.
        composition: Whether pixels with m = 0 keep the input inside the network, or outside, by the user.
    """

    scaling: Place = "inside"
    cloud_map: Literal["input", "ones"] = "input"
    composition: Place = "outside"

    def require_possible(self) -> None:
        """Check that the settings fit together.

        Raises:
            InputError: A composition needs the cloud map.
        """
        if self.composition == "inside" and self.cloud_map == "ones":
            raise InputError("a composition inside the network needs the cloud map as input; choose --map input")


@dataclass(frozen=True)
class Parity:
    """Difference between an exported network and the original, in DN (reflectance x 10,000).

    Attributes:
        largest: Largest absolute difference.
        mean: Mean absolute difference.
    """

    largest: float
    mean: float


def describe(remover: NetworkRemover, settings: ExportSettings, *, folded: bool = False) -> Description:
    """Return the description of an exported network.

    Args:
        remover: Original network.
        settings: What the exported network contains.
        folded: Whether the statistics of a scene are part of it.
    """
    scaling, bands = remover.settings.scaling, remover.bands
    ranges = dict(zip(SENTINEL1.bands, (scaling.vv_db, scaling.vh_db), strict=True)) | dict.fromkeys(
        bands, scaling.toa_reflectance
    )
    outside = settings.scaling == "outside"
    inputs = [("sar", SENTINEL1.bands), ("cloudy", bands)]
    inputs += [(CLOUD_MAP, (CLOUD_MAP,))] if settings.cloud_map == "input" else []
    use: dict[str, Any] = {
        "output_bands": bands,
        "level": remover.settings.level,
        "margin_px": MARGIN_PX,
        "stride_px": STRIDE_PX,
        "composed": settings.composition == "inside",
    }
    if outside:
        use |= {"clip": ranges, "output_scaling": [_to_network(scaling.toa_reflectance)]}
    content = {
        "mlm:name": mlm_name(remover.name),
        "mlm:input": [
            {
                "name": name,
                "bands": names,
                "input": _array(len(names), "bands"),
                "value_scaling": [_to_network(ranges[band]) for band in names]
                if outside and name != CLOUD_MAP
                else None,
            }
            for name, names in inputs
        ],
        "mlm:output": [{"name": OUTPUT, "result": _array(len(bands), "channel")}],
        NETWORK: use,
    }
    return settings_from(Description, content, origin=f"the description of {remover.name}")


def mlm_name(name: str) -> str:
    """Return a name as MLM has them: letters, digits and ``_.-``, from a letter to a letter or digit."""
    kept = re.sub(r"[^A-Za-z0-9_.\-]", "_", name).rstrip("_.-")
    return kept if re.match(r"[A-Za-z]..", kept) else f"network_{kept}".rstrip("_")


def _array(channels: int, axis: str) -> dict[str, Any]:
    order = ["batch", axis, "height", "width"]
    return {"shape": [1, channels, -1, -1], "dim_order": order, "data_type": "float32"}


def _to_network(interval: Interval) -> dict[str, Any]:
    """Return the conversion of a range to [-1, 1] as a scaling of MLM."""
    low, high = interval
    return {"type": "z-score", "mean": (low + high) / 2, "stddev": (high - low) / 2}


def stac_item(described: Description, path: Path, to: Format) -> dict[str, Any]:
    """Return the description as a STAC item with the MLM extension; a network has no place and no date."""
    content = described.model_dump(mode="json", by_alias=True, exclude_none=True)
    tasks = ["generative"]
    for output in content["mlm:output"]:
        output["tasks"] = tasks
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [SCHEMA],
        "id": described.name,
        "geometry": None,
        "properties": {
            "datetime": None,
            "start_datetime": "1900-01-01T00:00:00Z",
            "end_datetime": "9999-12-31T23:59:59Z",
            "bands": [{"name": name} for one in described.inputs for name in one.names],
            "mlm:architecture": "ResNet generator with a long skip connection (Ebel et al. 2020)",
            "mlm:tasks": tasks,
            "mlm:framework": {"onnx": "ONNX", "openvino": "OpenVINO", "torch": "PyTorch"}[to],
            **content,
        },
        "links": [],
        "assets": {
            "model": {
                "href": f"./{path.name}",
                "type": "application/octet-stream",
                "roles": ["mlm:model"],
                "mlm:artifact_type": "torch.export.save" if to == "torch" else to,
            }
        },
    }


def card(remover: NetworkRemover, described: Description, path: Path, to: Format, parity: Parity, licence: str) -> str:
    """Return the model card, Markdown with metadata as on Hugging Face."""
    use, training = described.use, remover.training
    known = [f"- {key}: {training[key]}" for key in ("patches", "steps", "weights", "data_sha256") if key in training]
    kept = "are those of the input" if use.composed else "have to be taken from the input"
    lines = [
        "---",
        f"license: {json.dumps('unknown' if licence == NOT_STATED else licence.lower())}",
        f"library_name: {to}",
        "pipeline_tag: image-to-image",
        "tags: [remote-sensing, cloud-removal, sentinel-1, sentinel-2]",
        "---",
        "",
        f"# {remover.name}",
        "",
        f"Removes clouds from Sentinel-2 {use.level} images with the help of Sentinel-1 radar. The architecture is",
        'that of Ebel et al. (2020), "Multisensor Data Fusion for Cloud Removal in Global and All-Season Sentinel-2',
        'Imagery", IEEE TGRS.',
        "",
        f"Licence of the weights: {licence}.",
        "",
        "## Inputs and output",
        "",
        "| input | channels | shape |",
        "|---|---|---|",
        *(
            f"| `{one.name}` | {' '.join(one.names)} | 1 x {len(one.names)} x height x width |"
            for one in described.inputs
        ),
        "",
        f"The output `{OUTPUT}` has the bands {' '.join(use.output_bands)}. Height and width are multiples of",
        f"{use.stride_px} px. Pixels with m = 0 {kept}.",
        f"`{path.with_suffix('.json').name}` states bands, units and scaling in the vocabulary of the STAC Machine",
        "Learning Model extension.",
        "",
        "## Training",
        "",
        *known,
        f"- cloud map: {remover.trained_map or 'not recorded'}",
        "",
        "## Parity",
        "",
        "Difference from the original on the patch of the comparison, in DN (reflectance x 10,000):",
        f"at most {parity.largest:.3f}, on average {parity.mean:.5f}.",
    ]
    return "\n".join(lines) + "\n"
