"""One file per published model."""

from mri_zoo.models.base import ReconstructionModel
from mri_zoo.models.cascade_net import CascadeNet
from mri_zoo.models.cg_sense import CGSENSE
from mri_zoo.models.data_consistent import DataConsistent
from mri_zoo.models.dealiasing_net import DealiasingNet
from mri_zoo.models.dip import DIP
from mri_zoo.models.direct_kikinet import DirectKIKINet
from mri_zoo.models.direct_unet import DirectUNet
from mri_zoo.models.fastmri_unet import FastMRIUNet
from mri_zoo.models.kiki_net import KIKINet
from mri_zoo.models.lpdnet import LPDNet
from mri_zoo.models.modl import MoDL
from mri_zoo.models.ncpdnet import NCPDNet
from mri_zoo.models.pdnet import PDNet
from mri_zoo.models.recurrent_varnet import RecurrentVarNet
from mri_zoo.models.refined_maps import RefinedMaps
from mri_zoo.models.unet import UNet
from mri_zoo.models.varnet import VarNet
from mri_zoo.models.vsharp import VSHARP, VSHARP3D
from mri_zoo.models.xpdnet import XPDNet
from mri_zoo.models.zero_filled import ZeroFilled

__all__ = [
    "CGSENSE",
    "CascadeNet",
    "DIP",
    "DealiasingNet",
    "DataConsistent",
    "DirectKIKINet",
    "DirectUNet",
    "FastMRIUNet",
    "KIKINet",
    "LPDNet",
    "MoDL",
    "NCPDNet",
    "PDNet",
    "ReconstructionModel",
    "RecurrentVarNet",
    "RefinedMaps",
    "VSHARP",
    "VSHARP3D",
    "UNet",
    "VarNet",
    "XPDNet",
    "ZeroFilled",
]
