import h5py
import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds

from mri_zoo.data.builders import fastmri_brain, fastmri_knee, oasis3
from mri_zoo.data.fourier import fft2c, ifft2c, root_sum_of_squares


def random_complex(rng, shape):
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def write_fastmri(path, kspace, target_name, **attributes):
    """A file in fastMRI's layout; returns the reference image (slice, 8, 6)."""
    images = ifft2c(kspace)
    target = (root_sum_of_squares(images) if kspace.ndim == 4 else np.abs(images))[:, 2:10, 1:7]
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"], file[target_name] = kspace, target
        file.attrs.update(attributes)
    return target


def prepare(builder, manual_dir):
    """Writes the dataset; returns its splits as lists of examples in the order of volumes and slices."""
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return {
        split: sorted(tfds.as_numpy(builder.as_dataset(split)), key=lambda x: (x["name"], x["slice_index"]))
        for split in builder.info.splits
    }


def test_fastmri_knee_singlecoil(rng, tmp_path):
    train = random_complex(rng, (3, 13, 8))
    validation = random_complex(rng, (2, 12, 9))
    folder, attributes = tmp_path / "knee", {"acquisition": "CORPD_FBK", "patient_id": "p7"}
    train_target = write_fastmri(folder / "singlecoil_train/file1.h5", train, "reconstruction_esc", **attributes)
    write_fastmri(folder / "singlecoil_val/file2.h5", validation, "reconstruction_esc", acquisition="CORPDFS_FBK")
    write_fastmri(folder / "multicoil_val/file3.h5", random_complex(rng, (1, 2, 12, 9)), "reconstruction_rss")

    builder = tfds.builder("fastmri_knee/singlecoil", data_dir=tmp_path / "tfds")
    assert isinstance(builder, fastmri_knee.FastMRIKnee)
    splits = prepare(builder, folder)
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 3, "validation": 2}
    for index, example in enumerate(splits["train"]):
        np.testing.assert_array_equal(example["kspace"], train[index][None])
        np.testing.assert_array_equal(example["target"], train_target[index])
        np.testing.assert_array_equal(example["padding"], [0, 8])
        assert (example["name"], example["contrast"], example["patient_id"]) == (b"file1.h5", b"CORPD_FBK", b"p7")
        assert (example["slice_index"], example["num_slices"], example["num_coils"]) == (index, 3, 1)
    assert splits["validation"][1]["kspace"].shape == (1, 12, 9)


def test_fastmri_brain_of_several_sizes_and_coil_counts(rng, tmp_path):
    shapes = {"file_brain_AXT2_1.h5": (2, 3, 12, 9), "file_brain_AXT2_2.h5": (1, 2, 13, 11)}
    volumes = {name: random_complex(rng, shape) for name, shape in shapes.items()}
    targets = {
        name: write_fastmri(tmp_path / "brain/multicoil_train" / name, kspace, "reconstruction_rss")
        for name, kspace in volumes.items()
    }
    splits = prepare(fastmri_brain.FastMRIBrain(data_dir=tmp_path / "tfds"), tmp_path / "brain")
    assert list(splits) == ["train"] and len(splits["train"]) == 3
    for example in splits["train"]:
        name, index = example["name"].decode(), example["slice_index"]
        np.testing.assert_array_equal(example["kspace"], volumes[name][index])
        np.testing.assert_array_equal(example["target"], targets[name][index])
        assert example["num_coils"] == shapes[name][1]


def test_oasis3_takes_t1w_and_splits_by_subject(rng, tmp_path):
    images = {}
    for subject in range(30001, 30021):
        for session in ("d0001", "d0420")[: 1 + subject % 2]:
            folder = tmp_path / f"oasis/sub-OAS{subject}/ses-{session}/anat"
            folder.mkdir(parents=True)
            for contrast in ("T1w", "T2w"):
                name = f"sub-OAS{subject}_ses-{session}_run-01_{contrast}.nii.gz"
                images[name] = rng.integers(0, 1000, (3, 8, 7)).astype(np.float32)
                nibabel.save(nibabel.Nifti1Image(images[name], np.eye(4)), folder / name)
    splits = prepare(oasis3.OASIS3(data_dir=tmp_path / "tfds"), tmp_path / "oasis")

    examples = splits["train"] + splits["validation"]
    assert len(examples) == 30 * 3
    for example in examples:
        name, index = example["name"].decode(), example["slice_index"]
        assert name.endswith("T1w.nii.gz") and example["contrast"] == b"T1w"
        np.testing.assert_array_equal(example["target"], images[name][index])
        np.testing.assert_allclose(example["kspace"][0], fft2c(images[name][index]), rtol=1e-4, atol=1e-2)
    subjects = {split: {example["patient_id"] for example in splits[split]} for split in splits}
    assert len(subjects["train"] | subjects["validation"]) == 20
    assert not subjects["train"] & subjects["validation"]


def test_oasis3_validates_on_a_fixed_tenth_of_the_subjects():
    picked = [subject for subject in range(30001, 31069) if oasis3._split(f"OAS{subject}") == "validation"]
    assert 0.08 < len(picked) / 1068 < 0.12
    assert picked[:3] == [30001, 30004, 30029]


@pytest.mark.parametrize(
    "builder_class, wanted",
    [
        (fastmri_knee.FastMRIKnee, ["fastmri.med.nyu.edu", "knee_singlecoil_train.tar.xz", "singlecoil_train/"]),
        (fastmri_brain.FastMRIBrain, ["fastmri.med.nyu.edu", "brain_multicoil_train_batch_0.tar.xz", "multicoil_val/"]),
        (oasis3.OASIS3, ["sites.wustl.edu/oasisbrains", "_T1w.nii.gz"]),
    ],
)
def test_a_missing_folder_gives_instructions(tmp_path, builder_class, wanted):
    with pytest.raises(AssertionError, match="does not exist or is empty") as error:
        prepare(builder_class(data_dir=tmp_path / "tfds"), tmp_path / "nowhere")
    assert all(text in str(error.value) for text in wanted)
    assert not list((tmp_path / "tfds").rglob("*.tfrecord*"))


def test_a_folder_of_something_else_gives_instructions(tmp_path):
    (tmp_path / "other/knees").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"holds no volume of fastmri_knee/multicoil/1.0.0") as error:
        prepare(fastmri_knee.FastMRIKnee(config="multicoil", data_dir=tmp_path / "tfds"), tmp_path / "other")
    assert "knee_multicoil_val.tar.xz" in str(error.value)


def test_a_volume_without_reference_is_refused(rng, tmp_path):
    write_fastmri(tmp_path / "knee/multicoil_val/file1.h5", random_complex(rng, (1, 2, 12, 9)), "something")
    with pytest.raises(ValueError, match="file1.h5: has no reference image"):
        prepare(fastmri_knee.FastMRIKnee(config="multicoil", data_dir=tmp_path / "tfds"), tmp_path / "knee")
