"""The T1w volumes of OASIS-3 as a TensorFlow dataset.

Importing this module registers the builder::

    import tensorflow_datasets as tfds

    import mri_zoo.data.builders.oasis3

    config = tfds.download.DownloadConfig(manual_dir="/data/oasis3")
    train = tfds.load("oasis3", split="train", download_and_prepare_kwargs={"download_config": config})
"""

import hashlib
import re

from mri_zoo.data.builders._slices import SliceBuilder
from mri_zoo.data.files import NIfTIFile, find_volumes

_T1W_OF_SUBJECT = re.compile(r"sub-(OAS3\d+)_.*T1w\.nii(\.gz)?$")


class OASIS3(SliceBuilder):
    """Slices of OASIS-3's T1w volumes; for the features see `SliceBuilder`.

    OASIS holds magnitudes only: the k-space is the Fourier transform of the image, of one coil and without phase. A
    tenth of the subjects, picked by a hash of their identifier, is the split `validation`, the others are `train`: no
    subject is in both, and a subject stays where it is when others are added.
    """

    name = "oasis3"
    description = "T1w magnitude volumes of brains, and their Fourier transform as one-coil k-space."
    homepage = "https://sites.wustl.edu/oasisbrains/"
    citation = """\
@article{lamontagne2019oasis3,
  title={{OASIS-3}: Longitudinal Neuroimaging, Clinical, and Cognitive Dataset for
    Normal Aging and {Alzheimer} Disease},
  author={LaMontagne, Pamela J. and Benzinger, Tammie L. S. and Morris, John C. and others},
  journal={medRxiv 2019.12.13.19014902},
  year={2019}
}"""
    reader = NIfTIFile
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    1. Apply for access at https://sites.wustl.edu/oasisbrains/ (OASIS data use agreement); the images of the project
       OASIS3 are then at https://www.nitrc.org/ir.
    2. Download the T1w scans with download_oasis_scans_bids.sh of https://github.com/NrgXnat/oasis-scripts.
    3. The result is the folder to use, about 2200 sessions of 1068 subjects:
         manual_dir/sub-OAS30001/ses-d0129/anat/sub-OAS30001_ses-d0129_run-01_T1w.nii.gz ...
       Files are found by their name, sub-OAS3*_T1w.nii.gz, in all sub-folders; others are ignored.
    4. Name this folder in tfds.download.DownloadConfig(manual_dir=...).
    """

    def _find_volumes(self, root):
        splits = {"train": [], "validation": []}
        for path in find_volumes(root, "oasis"):
            if match := _T1W_OF_SUBJECT.match(path.name):
                splits[_split(match[1])].append(path)
        return splits


def _split(subject):
    digest = hashlib.sha256(subject.encode()).digest()
    return "validation" if int.from_bytes(digest[:4], "big") % 10 == 0 else "train"
