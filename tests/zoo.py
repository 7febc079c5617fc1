"""One small model of each kind, for the tests that every model must pass on every backend."""

import numpy as np
from helpers import acquire, acquire_frames, relative_error

from mri_zoo.layers.convnet import ComplexNet, ConvNet
from mri_zoo.layers.direct import DilatedMWCNN, DirectConvNet, TiedDIDN
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.mwcnn import MWCNN
from mri_zoo.layers.resnet import PreActivationResNet, ScaledResNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.models import (
    CGSENSE,
    VSHARP,
    VSHARP3D,
    CascadeNet,
    DataConsistent,
    DealiasingNet,
    DirectKIKINet,
    DirectUNet,
    FastMRIUNet,
    KIKINet,
    LPDNet,
    MoDL,
    NCPDNet,
    PDNet,
    RecurrentVarNet,
    RefinedMaps,
    UNet,
    VarNet,
    XPDNet,
    ZeroFilled,
)
from mri_zoo.physics.cartesian import Cartesian


def refined_maps(physics, num_filters, **options):
    """A model with a network for its maps; it has its physics from the model inside."""
    inside = DirectUNet(num_filters, 1, combine_coils=True, physics=physics, **options)
    dtype = options.get("dtype")
    network = ComplexNet(InstanceUNet(2, 2, 1, dtype=dtype), residual=False, dtype=dtype)
    refiner = SensitivityRefiner(network, dtype=dtype)
    return RefinedMaps(inside, refiner, sigma=0.5, **options)


def data_consistent(physics, num_filters, **options):
    """A model whose samples are replaced."""
    return DataConsistent(DirectUNet(num_filters, 1, combine_coils=True, physics=physics, **options), **options)


# Small, and with no argument at its default. `DIP` is missing: its image is of a fit to one scan, not of the batch.
LEARNED = {
    "cascade_net": (
        CascadeNet,
        {"num_cascades": 2, "num_convolutions": 1, "num_filters": 4, "soft_consistency": True},
    ),
    "kiki_net": (
        KIKINet,
        {"num_cascades": 3, "num_convolutions": 1, "num_filters": 4, "activation": "relu"},
    ),
    "kiki_net_end_to_end": (
        KIKINet,
        {"num_convolutions": 1, "num_filters": 4, "final_consistency": True, "soft_consistency": True},
    ),
    "dealiasing_net": (DealiasingNet, {"network": UNetBlock(2, (4, 6), 1)}),
    "direct_kikinet": (
        DirectKIKINet,
        {"num_iterations": 1, "image_network": DirectConvNet(2, 4, 2), "kspace_network": TiedDIDN(2, 4, 1, 2)},
    ),
    "direct_unet": (
        DirectUNet,
        {"num_filters": 4, "num_pools": 2, "normalized": True, "residual": True, "combine_coils": True},
    ),
    "lpdnet": (
        LPDNet,
        {
            "num_iterations": 2,
            "num_primal": 2,
            "num_dual": 1,
            "image_network": DilatedMWCNN(4, 4, 2, num_inputs=6, last_kernel_size=1),
            "kspace_network": DirectConvNet(2, 4, 2, batch_normalization=True),
        },
    ),
    "lpdnet_all": (
        LPDNet,
        {
            "num_iterations": 2,
            "num_primal": 2,
            "num_dual": 0,
            "image_network": DirectConvNet(4, 4, 2),
            "exchange": "all",
            "shared": False,
        },
    ),
    "modl": (MoDL, {"num_iterations": 2, "network": PreActivationResNet(2, 4, 2), "num_steps": 1}),
    "modl_conjgradnet": (
        MoDL,
        {
            "num_iterations": 2,
            "network": ScaledResNet(2, 4, 1, scale=1.0),
            "shared": False,
            "num_steps": 2,
            "order": "network_between",
            "start": "zeros",
            "learned_scale": True,
        },
    ),
    "ncpdnet": (
        NCPDNet,
        {"num_iterations": 2, "num_primal": 2, "num_filters": 4, "refiner_filters": (3,), "normalized": True},
    ),
    "recurrent_varnet": (
        RecurrentVarNet,
        {
            "num_iterations": 2,
            "num_filters": 4,
            "num_layers": 2,
            "initializer_filters": (4, 6),
            "initializer_dilations": (2, 1),
            "initializer_scales": 1,
        },
    ),
    "recurrent_varnet_shared": (
        RecurrentVarNet,
        {"num_iterations": 2, "num_filters": 4, "num_layers": 1, "shared": True, "initializer_filters": None},
    ),
    "unet": (UNet, {"num_filters": (4, 6), "num_convolutions": 1, "crop": (14, 11), "penultimate_activation": None}),
    "pdnet": (PDNet, {"num_iterations": 2, "num_primal": 3, "num_dual": 2, "num_filters": 4}),
    "pdnet_primal_only": (
        PDNet,
        {"num_iterations": 2, "num_primal": 1, "num_filters": 4, "primal_only": True, "buffers": "adjoint"},
    ),
    "fastmri_unet": (FastMRIUNet, {"num_filters": 3, "num_pools": 2, "crop": (14, 11)}),
    "varnet": (
        VarNet,
        {
            "num_cascades": 2,
            "num_filters": 3,
            "num_pools": 1,
            "refiner_filters": 2,
            "refiner_pools": 1,
            "num_low_frequencies": 4,
        },
    ),
    "vsharp": (
        VSHARP,
        {
            "denoiser": DirectConvNet(2, 4, 2),
            "num_iterations": 2,
            "num_gradient_steps": 3,
            "initializer_filters": (4, 6),
            "initializer_dilations": (2, 1),
            "initializer_scales": 2,
            "initializer_activation": 0.1,
        },
    ),
    "vsharp_shared": (
        VSHARP,
        {
            "denoiser": ScaledResNet(2, 4, 1, num_inputs=6),
            "num_iterations": 2,
            "num_gradient_steps": 1,
            "shared": True,
            "initializer_filters": (4,),
            "initializer_dilations": (1,),
        },
    ),
    "vsharp_3d": (
        VSHARP3D,
        {
            "denoiser": InstanceUNet(2, 2, 1, dimensions=3),
            "num_iterations": 2,
            "num_gradient_steps": 2,
            "initializer_filters": (3,),
            "initializer_dilations": (2,),
        },
    ),
    "xpdnet": (
        XPDNet,
        {
            "image_network": MWCNN(4, (6,), (1,), 1, 5),
            "kspace_network": ConvNet(4, 4, 1),
            "num_iterations": 2,
            "num_primal": 2,
            "num_dual": 2,
            "pad_multiple": 8,
            "refiner_filters": (3,),
        },
    ),
    "xpdnet_primal_only": (
        XPDNet,
        {
            "image_network": ConvNet(4, 6, 1),
            "num_iterations": 2,
            "num_primal": 2,
            "residual": False,
            "pad_multiple": 1,
            "refiner_filters": None,
        },
    ),
    "varnet_direct": (
        VarNet,
        {"num_cascades": 1, "num_filters": 3, "num_pools": 1, "refiner_filters": None, "normalized": False},
    ),
    "refined_maps": (refined_maps, {"num_filters": 3}),
    "data_consistent": (data_consistent, {"num_filters": 3}),
}
MODELS = {**LEARNED, "zero_filled": (ZeroFilled, {}), "cg_sense": (CGSENSE, {"num_steps": 2, "weight": 0.1})}


def create(name, **options):
    """A model whose 15 x 13 images have a window for the sensitivity maps."""
    model_class, arguments = MODELS[name]
    return model_class(**{"physics": Cartesian(center_fraction=0.4), **arguments, **options})


def acquire_for(name, rng, size=(15, 13), **options):
    """`helpers.acquire`, with frames for a model that takes them."""
    return (acquire_frames if name == "vsharp_3d" else acquire)(rng, size, **options)


def deviation(name, found, expected):
    """Relative error. VarNet's is of the magnitude: its phase is that of a sum over coils, and random ones cancel."""
    return relative_error(*(np.abs(image) if name == "varnet" else image for image in (found, expected)))
