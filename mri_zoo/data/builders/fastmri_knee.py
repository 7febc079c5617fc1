"""The knee data of fastMRI as a TensorFlow dataset.

Importing this module registers the builder::

    import tensorflow_datasets as tfds

    import mri_zoo.data.builders.fastmri_knee

    config = tfds.download.DownloadConfig(manual_dir="/data/fastmri_knee")
    train = tfds.load(
        "fastmri_knee/singlecoil", split="train", download_and_prepare_kwargs={"download_config": config}
    )
"""

import tensorflow_datasets as tfds

from mri_zoo.data.builders._fastmri import FastMRIBuilder


class FastMRIKnee(FastMRIBuilder):
    """Slices of fastMRI's knees; see `FastMRIBuilder` and, for the features, `SliceBuilder`."""

    name = "fastmri_knee"
    description = "Raw k-space of knees (coronal proton density with and without fat suppression) and reference images."
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name="singlecoil", description="K-space of an emulated single coil, reference `reconstruction_esc`."
        ),
        tfds.core.BuilderConfig(name="multicoil", description="K-space of 15 coils, reference `reconstruction_rss`."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    1. Accept the data use agreement and fill in the form at https://fastmri.med.nyu.edu/; an e-mail brings the links.
    2. Download
         for `singlecoil`: knee_singlecoil_train.tar.xz (73 GB), knee_singlecoil_val.tar.xz (15 GB);
         for `multicoil`: knee_multicoil_train_batch_0.tar.xz to ..._4.tar.xz (91 GB each), knee_multicoil_val.tar.xz
         (94 GB).
    3. Extract them into one folder, not that of the brain data, whose archives use the same names:
         manual_dir/singlecoil_train/file1*.h5
         manual_dir/singlecoil_val/file1*.h5
         manual_dir/multicoil_train/file1*.h5 (all batches together)
         manual_dir/multicoil_val/file1*.h5
       Folders that you do not need may be missing.
    4. Name this folder in tfds.download.DownloadConfig(manual_dir=...).
    """
