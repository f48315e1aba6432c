"""Triplets for training code of other packages: plain PyTorch, Lightning, torchgeo.

:class:`PatchSamples` returns mappings of tensors, which the default collate function of a DataLoader batches. The parts
are those of the official split, so that networks trained on ``train`` are scored without a leak on ``test``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.errors import InputError
from unclouded.patches.layouts import find_triplets
from unclouded.patches.splits import SplitName, triplets_of
from unclouded.sensors import RGB, SENTINEL2
from unclouded.tensors.dataset import TripletDataset, TripletSource
from unclouded.tensors.packed import is_store, open_store

Sample = dict[str, Any]
Keys = Literal["named", "torchgeo"]


class PatchSamples(Dataset[Sample]):
    """The triplets of one part of a data set, as mappings without a batch axis.

    ``named`` samples have ``sar`` (VV, VH in dB), ``cloudy`` and ``clear`` (TOA reflectance), ``cloud_map`` (m, 0 clear
    to 1 cloudy) and ``name``. ``torchgeo`` samples have the keys of its trainers and transforms: ``image``, which joins
    radar, cloudy image and map, and ``mask``, the clear image. Its ``NonGeoDataModule`` takes this class as dataset.

    Args:
        root: Data set in either layout of SEN12MS-CR, or a store of ``unclouded data pack``.
        split: Part of the official split, or of that of the data set; ``all`` for all triplets.
        bands: Optical bands.
        clouds: Settings of the cloud map; those of a store are fixed.
        crop_px: Side of the centre crop; the whole patch if None.
        keys: Names of the tensors.
        transforms: Function that is applied to every sample.

    Raises:
        InputError: There is no such data set, part, or band.
    """

    def __init__(
        self,
        root: Path | str,
        split: SplitName = "train",
        *,
        bands: tuple[str, ...] = RGB,
        clouds: CloudMapSettings | None = None,
        crop_px: int | None = None,
        keys: Keys = "named",
        transforms: Callable[[Sample], Sample] | None = None,
    ) -> None:
        root, bands = Path(root), SENTINEL2.named(bands)
        self.keys, self.transforms = keys, transforms
        self.triplets: TripletSource
        if is_store(root):
            store = open_store(root, bands, crop_px)
            if clouds not in (None, store.settings.clouds):
                raise InputError(f"{root} was packed with the clouds {store.settings.clouds}; leave clouds out")
            self.triplets = store.of_part(split)
        else:
            files = triplets_of(find_triplets(root), split)
            self.triplets = TripletDataset(files, bands, clouds or CloudMapSettings(), ProbabilityCache(), crop_px)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the patches, for the record of what a network was trained on."""
        return self.triplets.names

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> Sample:
        triplet = self.triplets[index]
        seen = triplet.observation
        images = {"sar": seen.sar[0], "cloudy": seen.cloudy[0], "cloud_map": seen.cloud_map[0]}
        sample: Sample = {**images, "clear": triplet.clear[0], "name": triplet.name}
        if self.keys == "torchgeo":
            sample = {"image": torch.cat(list(images.values())), "mask": triplet.clear[0]}
        return sample if self.transforms is None else self.transforms(sample)


def lightning_data_module(root: Path | str, *, batch: int = 1, workers: int = 0, **options: Any) -> Any:
    """Return a ``LightningDataModule`` with the parts train, val and test of a data set.

    Args:
        root: As in :class:`PatchSamples`.
        batch: Samples of a batch.
        workers: Processes that read samples.
        **options: Further arguments of :class:`PatchSamples`, such as ``bands`` and ``keys``.

    Raises:
        InputError: Lightning is not installed.
    """
    try:
        from lightning.pytorch import LightningDataModule
    except ImportError:
        try:
            from pytorch_lightning import LightningDataModule
        except ImportError as error:
            raise InputError("Lightning is not installed; install 'unclouded[lightning]'") from error

    class PatchDataModule(LightningDataModule):  # type: ignore[misc]
        def _loader(self, split: SplitName, *, shuffle: bool = False) -> DataLoader[Sample]:
            return DataLoader(
                PatchSamples(root, split, **options),
                batch,
                shuffle=shuffle,
                num_workers=workers,
                persistent_workers=workers > 0,
            )

        def train_dataloader(self) -> DataLoader[Sample]:
            return self._loader("train", shuffle=True)

        def val_dataloader(self) -> DataLoader[Sample]:
            return self._loader("val")

        def test_dataloader(self) -> DataLoader[Sample]:
            return self._loader("test")

    return PatchDataModule()
