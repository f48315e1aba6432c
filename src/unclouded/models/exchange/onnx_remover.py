"""Networks in ONNX files as removers: run by onnxruntime, described by a file in the vocabulary of STAC MLM.

The file is checked by :mod:`~unclouded.models.exchange.onnx_graph` before onnxruntime opens it; nothing of it is
executed but standard operators.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from unclouded.errors import InputError
from unclouded.files import machine_fault, named, sha256
from unclouded.models.exchange.mlm import CLOUD_MAP, Description, ModelInput, read_description
from unclouded.models.exchange.onnx_graph import check_onnx
from unclouded.models.identity import hash_of_json
from unclouded.sensors import SENTINEL1, SENTINEL2, Level
from unclouded.tensors.observation import Observation

SUFFIX = ".onnx"


@dataclass(frozen=True, eq=False)
class OnnxRemover:
    """A network of an ONNX file as a :class:`~unclouded.models.remover.SceneRemover`.

    Attributes:
        session: Inference session of onnxruntime.
        described: Description of the network.
        name: Name in tables.
        identity: Hashes of network and description.
    """

    session: Any
    described: Description
    name: str
    identity: dict[str, str]

    @property
    def bands(self) -> tuple[str, ...]:
        """Optical bands of input and output, in this order."""
        return self.described.bands

    @property
    def level(self) -> Level:
        """Processing level of the images."""
        return self.described.use.level

    @property
    def needs_radar(self) -> bool:
        """Whether VV or VH is an input."""
        return any(band in SENTINEL1.bands for one in self.described.inputs for band in one.names)

    @property
    def margin_px(self) -> int:
        """Largest distance at which a pixel affects the result, as described."""
        return self.described.use.margin_px

    @property
    def align_px(self) -> int:
        """Windows start at multiples of the stride."""
        return self.described.use.stride_px

    def description(self) -> dict[str, str]:
        """Return the hashes of network and description; see :mod:`unclouded.models.identity`."""
        return self.identity

    def adapt(self, sample: Sequence[Observation]) -> "OnnxRemover":
        """Return the remover itself: whatever a network normalises by is computed inside it."""
        return self

    @torch.inference_mode()
    def __call__(self, observation: Observation) -> Float[Tensor, "batch band h w"]:
        """Return the clear image as TOA reflectance; NaN where an input has no data.

        Raises:
            InputError: The network cannot be run, or its output has another size than described.
        """
        return torch.cat([self._image(one) for one in observation.select(self.bands).images()])

    def _image(self, seen: Observation) -> Float[Tensor, "1 band h w"]:
        height, width = seen.cloudy.shape[-2:]
        prepared = [self._padded(self._prepared(one, seen)) for one in self.described.inputs]
        rows, columns = prepared[0].shape[-2:]
        output = prepared[0].new_empty(1, len(self.bands), rows, columns)
        for outer, inner in self._tiles(rows, columns):
            result = self._run([image[..., *outer] for image in prepared])
            rows_kept, columns_kept = (
                slice(kept.start - tile.start, kept.stop - tile.start) for kept, tile in zip(inner, outer, strict=True)
            )
            output[..., *inner] = result[..., rows_kept, columns_kept]
        use = self.described.use
        bands = [scaling.invert(output[:, i]) for i, scaling in enumerate(use.scalings)]
        clear = torch.stack(bands, dim=1)[..., :height, :width]
        if use.optical_unit == "DN":
            clear = clear / SENTINEL2.stored_per_unit
        return torch.where(self._has_data(seen), clear.to(seen.cloudy.device), torch.nan)

    def _prepared(self, described: ModelInput, seen: Observation) -> Float[Tensor, "1 channel h w"]:
        """Return an input of the network."""
        channels = []
        for band, scaling in zip(described.names, described.scalings, strict=True):
            values = self._physical(band, seen).float().cpu()
            if band in self.described.use.clip:
                values = values.clamp(*self.described.use.clip[band])
            channels.append(scaling.apply(values))
        return torch.stack(channels, dim=1).nan_to_num(nan=self.described.use.fill)

    def _physical(self, band: str, seen: Observation) -> Float[Tensor, "1 h w"]:
        """Return a band in the unit of the description."""
        if band == CLOUD_MAP:
            return seen.cloud_map[:, 0]
        if band in SENTINEL1.bands:
            db = seen.sar[:, SENTINEL1.bands.index(band)]
            return db if self.described.use.radar_unit == "dB" else 10 ** (db / 10)
        reflectance = seen.cloudy[:, seen.bands.index(band)]
        return (
            reflectance if self.described.use.optical_unit == "reflectance" else reflectance * SENTINEL2.stored_per_unit
        )

    def _has_data(self, seen: Observation) -> Bool[Tensor, "1 1 h w"]:
        known = seen.cloudy.isfinite().all(dim=1, keepdim=True)
        if self.needs_radar:
            known = known & seen.sar.isfinite().all(dim=1, keepdim=True)
        return known

    def _padded(self, image: Float[Tensor, "1 channel h w"]) -> Float[Tensor, "1 channel rows columns"]:
        """Repeat the last row and column until the size is a multiple of the stride and no less than a tile."""
        stride, tile = self.described.use.stride_px, self.described.tile_px or (1, 1)
        height, width = image.shape[-2:]
        below, right = (
            -(-max(length, least) // stride) * stride - length
            for length, least in zip((height, width), tile, strict=True)
        )
        return F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image

    def _tiles(self, rows: int, columns: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """Yield tiles of the size of the network and their parts to keep, which cover an image."""
        if self.described.tile_px is None:
            whole = slice(0, rows), slice(0, columns)
            yield whole, whole
            return
        use, (height, width) = self.described.use, self.described.tile_px
        for top in _spans(rows, height, use.margin_px, use.stride_px):
            for left in _spans(columns, width, use.margin_px, use.stride_px):
                (outer_rows, rows_kept), (outer_columns, columns_kept) = top, left
                yield (outer_rows, outer_columns), (rows_kept, columns_kept)

    def _run(self, images: Sequence[Tensor]) -> Float[Tensor, "1 band h w"]:
        feeds = {one.name: image.contiguous().numpy() for one, image in zip(self.described.inputs, images, strict=True)}
        output = self.described.outputs[0].name
        try:
            (result,) = self.session.run([output], feeds)
        except Exception as error:
            if fault := machine_fault(error):
                raise fault from error
            raise InputError(f"{self.name}: the network cannot be run ({_reason(error)}); export it again") from error
        expected = (1, len(self.bands), *images[0].shape[-2:])
        if not isinstance(result, np.ndarray) or result.shape != expected or result.dtype != np.float32:
            found = f"{getattr(result, 'dtype', type(result).__name__)} {list(getattr(result, 'shape', ()))}"
            raise InputError(
                f"{self.name}: {output} is {found}, expected float32 {list(expected)}; correct its description"
            )
        return torch.from_numpy(result)


def _spans(length: int, tile: int, margin: int, stride: int) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles along one axis, each with the part to keep: all but its margins inside the image."""
    step = (tile - 2 * margin) // stride * stride
    last = length - tile
    for start in [*range(0, last, step), last]:
        kept = slice(start + (margin if start else 0), start + tile - (margin if start < last else 0))
        yield slice(start, start + tile), kept


def description_of(path: Path) -> Path:
    """Return the path of the description of an ONNX file: the same name with .json."""
    return path.with_suffix(".json")


def load_onnx(path: Path) -> OnnxRemover:
    """Read an ONNX file with its description; the remover is named after the file.

    Raises:
        InputError: onnxruntime is not installed, a file is damaged or refused, or the two do not fit together.
    """
    described = read_description(description_of(path))
    check_onnx(path)
    session = _session(path)
    _require_agreement(session, described, path)
    identity = {"onnx": sha256(path), "described": hash_of_json(described.model_dump(mode="json"))}
    return OnnxRemover(session, described, path.stem, identity)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"{named(path)} needs onnxruntime; run 'pip install unclouded[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; they are not to be printed, too
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        if fault := machine_fault(error):
            raise fault from error
        raise InputError(f"{named(path)} cannot be opened ({_reason(error)}); export or fetch it again") from error


@dataclass(frozen=True)
class _Value:
    """Input or output of a network: name, type, and sizes with -1 for any."""

    name: str
    type: str
    sizes: tuple[int, ...]


def _values(session: Any, path: Path) -> tuple[dict[str, _Value], dict[str, _Value]]:
    """Return inputs and outputs of a network by name."""
    try:
        inputs, outputs = (
            {
                one.name: _Value(one.name, one.type, tuple(size if isinstance(size, int) else -1 for size in one.shape))
                for one in found
            }
            for found in (session.get_inputs(), session.get_outputs())
        )
    except UnicodeDecodeError as error:
        raise InputError(f"{named(path)} has names that are not UTF-8; export or fetch it again") from error
    return inputs, outputs


def _require_agreement(session: Any, described: Description, path: Path) -> None:
    """Check names, types and channels of the description against the network."""
    sidecar, network = named(description_of(path)), named(path)
    inputs, outputs = _values(session, path)
    names, output = [one.name for one in described.inputs], described.outputs[0].name
    if sorted(inputs) != sorted(names):
        raise InputError(f"{sidecar} has the inputs {_listed(names)}, and {network} {_listed(inputs)}; correct it")
    if output not in outputs:
        raise InputError(f"{sidecar} has the output {_listed([output])}, and {network} {_listed(outputs)}; correct it")
    pairs = [(inputs[one.name], one.input.shape) for one in described.inputs]
    for stored, shape in [*pairs, (outputs[output], described.outputs[0].result.shape)]:
        label = ascii(stored.name[:40])
        if stored.type != "tensor(float)":
            raise InputError(f"{network}: {label} is {stored.type}, expected tensor(float); export it again")
        if len(stored.sizes) != 4 or any(
            -1 not in pair and pair[0] != pair[1] for pair in zip(stored.sizes, shape, strict=True)
        ):
            found = list(stored.sizes[:8])
            raise InputError(f"{sidecar}: the shape of {label} is {list(shape)}, and {network} has {found}; correct it")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(ascii(name[:40]) for name in islice(names, 8)) or "none"


def _reason(error: Exception) -> str:
    """Return the first line of a message of onnxruntime without its code and without what cannot be printed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return ascii(lines[0].split(" : ", 2)[-1])[1:-1][:200]
