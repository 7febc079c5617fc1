"""The brain data of fastMRI as a TensorFlow dataset.

Importing this module registers the builder::

    import tensorflow_datasets as tfds

    import mri_zoo.data.builders.fastmri_brain

    config = tfds.download.DownloadConfig(manual_dir="/data/fastmri_brain")
    train = tfds.load(
        "fastmri_brain/multicoil", split="train", download_and_prepare_kwargs={"download_config": config}
    )
"""

import tensorflow_datasets as tfds

from mri_zoo.data.builders._fastmri import FastMRIBuilder


class FastMRIBrain(FastMRIBuilder):
    """Slices of fastMRI's brains; see `FastMRIBuilder` and, for the features, `SliceBuilder`."""

    name = "fastmri_brain"
    description = "Raw k-space of brains (axial T1w with and without contrast agent, T2w, FLAIR) and reference images."
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="multicoil", description="K-space of all coils, reference `reconstruction_rss`."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    1. Accept the data use agreement and fill in the form at https://fastmri.med.nyu.edu/; an e-mail brings the links.
    2. Download brain_multicoil_train_batch_0.tar.xz to ..._9.tar.xz and brain_multicoil_val_batch_0.tar.xz to
       ..._2.tar.xz (92 to 106 GB each).
    3. Extract them into one folder, not that of the knee data, whose archives use the same names:
         manual_dir/multicoil_train/file_brain_*.h5 (all batches together)
         manual_dir/multicoil_val/file_brain_*.h5 (all batches together)
       A folder that you do not need may be missing.
    4. Name this folder in tfds.download.DownloadConfig(manual_dir=...).
    """
