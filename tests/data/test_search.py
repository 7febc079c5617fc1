import logging
import os

import pytest

from mri_zoo.data import DataError, find_volumes
from mri_zoo.data.check import check_folder
from mri_zoo.data.search import search


def names(paths, root):
    return [str(path.relative_to(root)) for path in paths]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    "name",
    [
        *("sub-1_T1w_mask.nii.gz", "sub-1_desc-brain_mask.nii", "sub-1_dseg.nii.gz", "sub-1_label-GM_probseg.nii.gz"),
        *("brainmask.nii.gz", "p1_consensus_gt.nii.gz", "aparc+aseg.nii", "t2_seg-manual.nii.gz", "T1w_pve_0.nii"),
        *("sub-1_task-rest_bold.nii.gz", "sub-1_dwi.nii.gz", "sub-1_phasediff.nii", "sub-1_magnitude1.nii.gz"),
        *("sub-1_part-phase_GRE.nii.gz", "sub-1_T1map.nii.gz", "sub-1_UNIT1.nii.gz", "sub-1_localizer.nii.gz"),
        *("derivatives/fmriprep/sub-1_T1w.nii.gz", "sub-1/fmap/sub-1_acq-x.nii.gz", "._a_T1w.nii.gz", ".git/a.nii"),
        *(
            "labelsTr/a_001.nii.gz",
            "masks/a_T1w.nii",
            "a_msk.nii.gz",
            "T1w_mask1.nii.gz",
            "wmh.nii.gz",
            "c1sub_T1w.nii",
        ),
        *("mwp1sub.nii", "y_sub.nii", "gre_e2_ph.nii.gz", "dti_L1.nii.gz", "S0map.nii.gz", "T1w_biasfield.nii.gz"),
        *("a_T1w.json", "a_T1w.img", "readme", "a.tar.gz", "sub-1_asl.nii.gz", "T1w_to_MNI_warp.nii.gz"),
    ],
)
def test_what_lies_beside_images_is_left_out_and_told(tmp_path, name, caplog):
    touch(tmp_path, "a_T1w.nii.gz", name)
    with caplog.at_level(logging.WARNING):
        assert names(find_volumes(tmp_path, "oasis"), tmp_path) == ["a_T1w.nii.gz"]
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"{tmp_path}: left out 1 ") and name.split("/")[0] in message


@pytest.mark.parametrize(
    "name",
    [
        *("sub-OAS30001_ses-d0129_run-01_T1w.nii.gz", "sub-1_acq-epi_T2w.nii.gz", "openms_patient01_s1_FLAIR.nii.gz"),
        *("IXI002-Guys-0828-PD.nii.gz", "example4d.NII.GZ", "sct_cspine_T2star.nii", "Masked T1.nii", "sub-1_SWI.nii"),
        *("sub-1/ses-1/anat/sub-1_inplaneT2.nii.gz", "mial_fetal_T2w_run1.nii.gz", "qmri_thigh_a.nii.gz", "PD.nii"),
        *("imagesTr/a_001.nii.gz", "C3_T1w.nii", "c3.nii", "segovia/a.nii"),
    ],
)
def test_images_are_taken(tmp_path, name):
    touch(tmp_path, name)
    assert names(find_volumes(tmp_path, "oasis"), tmp_path) == [name]


def test_links_are_followed_once(tmp_path, caplog):
    data, root = tmp_path / "data", tmp_path / "root"
    touch(tmp_path, "data/a.h5", "data/deep/b.h5", "root/c.h5")
    (root / "others").symlink_to(data)
    (root / "again").symlink_to(data)
    (root / "loop").symlink_to(root)
    (root / "twice.h5").symlink_to(root / "c.h5")
    (root / "away.h5").symlink_to(data / "missing.h5")
    found = find_volumes(root, "fastmri")
    assert names(found, root) == ["again/a.h5", "again/deep/b.h5", "away.h5", "c.h5"]
    assert "1 links to files that are here already (twice.h5)" in caplog.text
    assert "2 links to folders that are here already (loop, ...)" in caplog.text
    problems = {finding.path.name: finding.problem for finding in check_folder(root)}
    assert f"is a link to {data / 'missing.h5'}, which is missing" in problems["away.h5"]


def test_an_error_tells_what_was_left_out(tmp_path):
    touch(tmp_path, "derivatives/sub-1_T1w.nii.gz", "a_mask.nii.gz")
    with pytest.raises(DataError, match="holds no .nii or .nii.gz file.*left out 1 masks.* 1 processed data"):
        find_volumes(tmp_path, "oasis")
    assert names(find_volumes(tmp_path / "derivatives", "oasis"), tmp_path) == ["derivatives/sub-1_T1w.nii.gz"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.h5")
    assert search(tmp_path, (".h5",)).left_out == {"no regular files": [tmp_path / "a.h5"]}
