"""What the knee and the brain builder of fastMRI share."""

from mri_zoo.data.builders._slices import SliceBuilder
from mri_zoo.data.files import FastMRIFile, find_volumes


class FastMRIBuilder(SliceBuilder, skip_registration=True):
    """fastMRI's folders `<config>_train` and `<config>_val` as the splits `train` and `validation`."""

    reader = FastMRIFile
    homepage = "https://fastmri.med.nyu.edu/"
    citation = """\
@article{zbontar2018fastmri,
  title={{fastMRI}: An Open Dataset and Benchmarks for Accelerated {MRI}},
  author={Zbontar, Jure and Knoll, Florian and Sriram, Anuroop and others},
  journal={arXiv:1811.08839},
  year={2018}
}"""

    def _find_volumes(self, root):
        folders = {"train": f"{self.builder_config.name}_train", "validation": f"{self.builder_config.name}_val"}
        return {
            split: find_volumes(root / folder, "fastmri")
            for split, folder in folders.items()
            if (root / folder).is_dir()
        }
