"""From images to tensors: observations, triplets, data sets."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.tensors.dataset import TripletDataset as TripletDataset
    from unclouded.tensors.dataset import observe as observe
    from unclouded.tensors.observation import Observation as Observation
    from unclouded.tensors.observation import Triplet as Triplet
    from unclouded.tensors.packed import PackedDataset as PackedDataset
    from unclouded.tensors.packed import open_store as open_store
    from unclouded.tensors.packed import pack as pack
    from unclouded.tensors.samples import PatchSamples as PatchSamples
    from unclouded.tensors.samples import lightning_data_module as lightning_data_module

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dataset": (
            "TripletDataset",
            "observe",
        ),
        "observation": (
            "Observation",
            "Triplet",
        ),
        "packed": (
            "PackedDataset",
            "open_store",
            "pack",
        ),
        "samples": (
            "PatchSamples",
            "lightning_data_module",
        ),
    },
)
