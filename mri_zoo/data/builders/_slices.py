"""What the builders share: one example per slice, streamed from volumes."""

import abc
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from mri_zoo.data.volume import DataError


class SliceBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The slices of volumes that a user has downloaded by hand.

    Volumes are read one after the other: memory holds one of them, and up to a gigabyte of slices that TensorFlow
    Datasets shuffles. A split without a file is left out.

    Subclasses set `MANUAL_DOWNLOAD_INSTRUCTIONS`, implement `_find_volumes`, and set

        reader: the `VolumeSource` class that reads a file.
        description, homepage, citation: texts about the dataset.

    Features of an example:
        kspace: (coil, height, width) complex64, centred orthonormal Fourier transform of the coil images.
        target: (target height, target width) float32 reference magnitude.
        name, contrast, patient_id: text, of the volume.
        slice_index, num_slices, num_coils: int32.
        padding: (2,) int32, first and one-past-last acquired column.
    """

    VERSION = tfds.core.Version("1.0.0")

    @abc.abstractmethod
    def _find_volumes(self, root):
        """Dict from the name of a split to the paths of its volumes below the folder `root`."""

    def _info(self):
        # Unknown sizes need an encoding; to deflate noise takes seven times longer than bytes and saves a tenth.
        features = {
            "kspace": tfds.features.Tensor(shape=(None, None, None), dtype=np.complex64, encoding="bytes"),
            "target": tfds.features.Tensor(shape=(None, None), dtype=np.float32, encoding="bytes"),
            "padding": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        }
        features |= {name: tfds.features.Text() for name in ("name", "contrast", "patient_id")}
        features |= {name: np.int32 for name in ("slice_index", "num_slices", "num_coils")}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.description,
            features=tfds.features.FeaturesDict(features),
            homepage=self.homepage,
            citation=self.citation,
        )

    def _split_generators(self, dl_manager):
        root = Path(dl_manager.manual_dir)
        splits = {split: paths for split, paths in self._find_volumes(root).items() if paths}
        if not splits:
            raise DataError(
                f"{root}: holds no volume of {self.info.full_name}; expected:\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        return {split: self._generate_examples(root, paths) for split, paths in splits.items()}

    def _generate_examples(self, root, paths):
        for path in paths:
            source = self.reader(path)
            info = source.info
            if info.target_size is None:
                raise DataError(f"{path}: has no reference image; expected a training or validation volume.")
            volume = source.read()
            for index, kspace, target in zip(volume.slices, volume.kspace, volume.target, strict=True):
                yield (
                    f"{path.relative_to(root).as_posix()}:{index}",
                    {
                        "kspace": kspace,
                        "target": target,
                        "padding": info.padding,
                        "name": info.name,
                        "contrast": info.contrast,
                        "patient_id": info.patient_id,
                        "slice_index": index,
                        "num_slices": info.num_slices,
                        "num_coils": info.num_coils,
                    },
                )
