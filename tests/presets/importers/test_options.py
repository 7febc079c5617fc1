"""Every constructor argument of every foreign network: told by the arrays, asked for, or assumed and shown."""

import functools
import json
import os
from pathlib import Path

import keras
import pytest

from mri_zoo import import_checkpoint
from mri_zoo.data import DataError
from mri_zoo.data.preparation import KSpacePercentileScaling, parse_scaling
from mri_zoo.presets.importers import SOURCES, find_architecture, infer_config
from mri_zoo.presets.importers.checkpoint import Checkpoint
from mri_zoo.presets.importers.options import resolve
from mri_zoo.presets.published import published

BENCHMARK = "fastmri-reproducible-benchmark"
TRAINING = "training"  # has no effect on the image of trained weights
SCAN = "scan"  # comes with the data, or says what of the image is kept

# What becomes of each argument: "told" by the arrays, "asked" or "assumed", each with the name that it has here.
OPERATORS = {"forward_operator": "assumed physics", "backward_operator": "assumed physics", "model_name": TRAINING}
CROSS_DOMAIN = {  # what fastmri-reproducible-benchmark's unrolled networks hand on to the class that they extend
    **{"multicoil": SCAN, "fastmri": SCAN, "output_shape_spec": SCAN, "multi_gpu": TRAINING},
    **{"refine_smaps": "told refiner_filters", "refine_big": "told refiner_filters"},
    "normalize_image": "assumed normalize_image",
}
UNET_2D = {
    **{"in_channels": "told network", "out_channels": "told network", "num_filters": "told network"},
    **{"num_pool_layers": "told network", "dropout_probability": TRAINING},
}


def networks(name, *prefixes):
    """The arguments of DIRECT's networks, which have a prefix where one network holds several."""
    own = {
        "unet_num_filters": f"told {name}",
        "unet_num_pool_layers": f"told {name}",
        **dict.fromkeys(("unet_dropout", "unet_dropout_probability"), TRAINING),
        **dict.fromkeys(("conv_hidden_channels", "conv_n_convs", "conv_batchnorm"), f"told {name}"),
        **dict.fromkeys(("didn_hidden_channels", "didn_num_dubs", "didn_num_convs_recon"), f"told {name}"),
        **dict.fromkeys(("resnet_hidden_channels", "resnet_num_blocks", "resnet_batchnorm"), f"told {name}"),
        **dict.fromkeys(("mwcnn_hidden_channels", "mwcnn_num_scales", "mwcnn_bias", "mwcnn_batchnorm"), f"told {name}"),
        "conv_activation": f"asked {name}.activation",
        "resnet_scale": f"assumed {name}.scale",
    }
    return {f"{prefix}{argument}": fate for prefix in prefixes or ("",) for argument, fate in own.items()}


def without(arguments, *kinds):
    """Those of networks that can be chosen there."""
    return {name: fate for name, fate in arguments.items() if not any(kind in name for kind in kinds)}


VSHARP = {
    **{"num_steps": "told num_iterations", "num_steps_dc_gd": "told num_gradient_steps", "image_init": "assumed start"},
    **{"no_parameter_sharing": "told shared", "initializer_channels": "told initializer_filters"},
    **{"initializer_dilations": "assumed initializer_dilations", "initializer_multiscale": "told initializer_scales"},
    **{"initializer_activation": "asked initializer_activation", "auxiliary_steps": TRAINING},
    **OPERATORS,
}
UNET = {  # functional_models.unet.unet
    **{"input_size": "told num_filters", "n_output_channels": "told num_filters", "kernel_size": "told num_filters"},
    **{"n_layers": "told num_filters", "layers_n_channels": "told num_filters"},
    **{"layers_n_non_lins": "told num_convolutions", "non_relu_contract": "assumed non_relu_contract"},
    **{"non_linearity": "assumed activation", "pool": "assumed pooling", "res": "assumed residual"},
    **{"pretrained_weights": TRAINING, "lr": TRAINING, "compile": TRAINING},
    # of attention; with `dense=False` it has no weights there, which no file shows
    **{"dense": "told num_filters", "reduction_factor": "told num_filters"},
}
IMAGE_UNET = {
    "kernel_size": "told image_network",
    "n_layers": "told image_network",
    "layers_n_channels": "told image_network",
    "non_linearity": "assumed image_network.activation",
    "channel_attention_kwargs": "told image_network",
}
FUNCTIONAL = {"input_size": SCAN, "lr": TRAINING, "fastmri": SCAN}
NUFFT = {"im_size": SCAN, "grad_traj": TRAINING, "nufft_implementation": TRAINING}
RESIDUAL = {"res": "assumed image_network.residual"}
SCALES = dict.fromkeys(("n_scales", "n_outputs", "kernel_size", "bn", "n_convs_per_scale"), "told image_network")
MODEL_KWARGS = {  # of XPDNet's image networks
    "xpdnet_mwcnn": {
        **{**SCALES, **dict.fromkeys(("n_filters_per_scale", "n_first_convs"), "told image_network")},
        **{**RESIDUAL, **dict.fromkeys(("first_conv_n_filters", "use_bias"), "told image_network")},
    },
    "xpdnet_didn": {
        **{**RESIDUAL, **dict.fromkeys(("n_scales", "n_outputs", "n_filters", "n_dubs"), "told image_network")},
        **dict.fromkeys(("n_convs_recon", "convs_per_scale"), "told image_network"),
    },
    "xpdnet_dncnn": {
        **{**RESIDUAL, **dict.fromkeys(("n_convs", "n_filters", "n_outputs"), "told image_network")},
        "activation": "assumed image_network.activation",
    },
    "xpdnet_focnet": {
        **{**SCALES, "n_filters": "told image_network", "communications_between_scales": "told image_network"},
        "beta": "assumed image_network.beta",
    },
    "xpdnet_unet": {
        **dict.fromkeys(("input_size", "n_output_channels", "kernel_size", "n_layers"), "told image_network"),
        **dict.fromkeys(("layers_n_channels", "layers_n_non_lins", "dense"), "told image_network"),
        **{"reduction_factor": "told image_network", "non_relu_contract": "assumed image_network.non_relu_contract"},
        **{"non_linearity": "assumed image_network.activation", "pool": "assumed image_network.pooling"},
        **{"pretrained_weights": TRAINING, "lr": TRAINING, "compile": TRAINING, **RESIDUAL},
    },
}

TABLE = {
    ("deep-jsense", "MoDL"): {
        **{"mode": "asked mode", "meta_unrolls_end": "asked num_iterations", "block2_max_iter": "asked num_steps"},
        **{"img_channels": "told network", "img_blocks": "told network", "img_sep": "told shared"},
        **{"use_img_net": "told network", "use_map_net": "told order", "l2lam_train": "told network"},
        **{"l2lam_init": TRAINING, "cg_eps": "assumed cg_eps", "map_init": "assumed map_init"},
        **{"img_init": "assumed start", "att_config": "assumed att_config", "mps_kernel_shape": SCAN},
        # MoDL's mode has no iterations of the maps' block
        **{"block1_max_iter": "asked mode", "batch_size": SCAN, "logging": TRAINING, "verbose": TRAINING},
    },
    ("direct", "KIKINet"): {
        **{"image_model_architecture": "told image_network", "kspace_model_architecture": "told kspace_network"},
        **{"num_iter": "told num_iterations", "normalize": "assumed normalize", **OPERATORS},
        **without(networks("image_network", "image_"), "resnet", "conv_activation"),
        **without(networks("kspace_network", "kspace_"), "resnet", "conv_activation"),
    },
    ("direct", "LPDNet"): {
        **{"num_iter": "told num_iterations", "num_primal": "told num_primal", "num_dual": "told num_dual"},
        **{"primal_model_architecture": "told image_network", "dual_model_architecture": "told kspace_network"},
        **without(networks("image_network", "primal_"), "resnet", "conv_activation"),
        **without(networks("kspace_network", "dual_"), "resnet", "conv_activation"),
        **OPERATORS,
    },
    ("direct", "MoDL"): {
        **{"num_steps": "told num_iterations", "denoiser_architecture": "told network", "image_init": "asked start"},
        **{"no_parameter_sharing": "told shared", "cg_iters": "asked num_steps", "cg_tol": "assumed cg_tol"},
        **{"cg_param_update_type": "assumed cg_param_update_type", **OPERATORS},
        **without(networks("network"), "mwcnn"),
    },
    ("direct", "RecurrentVarNet"): {
        **{"in_channels": "told num_filters", "num_steps": "asked num_iterations", "normalized": "told normalized"},
        **{"recurrent_hidden_channels": "told num_filters", "recurrent_num_layers": "told num_layers"},
        **{"no_parameter_sharing": "told shared", "learned_initializer": "told initializer_filters"},
        **{"initializer_initialization": "assumed initializer_image"},
        **{"initializer_channels": "told initializer_filters", "initializer_multiscale": "told initializer_scales"},
        **{"initializer_dilations": "assumed initializer_dilations", **OPERATORS},
    },
    ("direct", "RefinedMaps"): {**dict.fromkeys(UNET_2D, "told refiner"), "dropout_probability": TRAINING}
    | {"norm_groups": "assumed refiner.norm_groups", "gaussian_sigma": "assumed sigma", **OPERATORS},
    ("direct", "UNet"): {
        **{"num_filters": "told num_filters", "num_pool_layers": "told num_pools", "dropout_probability": TRAINING},
        **{"skip_connection": "asked residual", "normalized": "told normalized"},
        **{"image_initialization": "asked combine_coils", "sensitivity_map_model": SCAN, **OPERATORS},
    },
    ("direct", "VarNet"): {
        **{"num_layers": "told num_cascades", "regularizer_num_filters": "told num_filters"},
        **{"regularizer_num_pull_layers": "told num_pools", "regularizer_dropout": TRAINING},
        **{"in_channels": "told num_filters", **OPERATORS},
    },
    ("direct", "VSHARP"): {
        **{"image_model_architecture": "told denoiser", **VSHARP},
        **without(networks("denoiser", "image_"), "mwcnn"),
    },
    ("direct", "VSHARP3D"): {
        **{"unet_num_filters": "told denoiser", "unet_num_pool_layers": "told denoiser", "unet_norm": "told denoiser"},
        **{"unet_dropout": TRAINING, **VSHARP},
    },
    ("direct", "XPDNet"): {
        **{"num_primal": "told num_primal", "num_dual": "told num_dual", "num_iter": "told num_iterations"},
        **{"use_primal_only": "told num_dual", "image_model_architecture": "told image_network"},
        **{"kspace_model_architecture": "told kspace_network", "normalize": "assumed normalize", **OPERATORS},
        **without(networks("image_network"), "resnet", "conv", "didn", "unet"),
        **without(networks("kspace_network", "dual_", "kspace_"), "resnet", "mwcnn", "conv_activation"),
    },
    ("fastmri", "FastMRIUNet"): {
        **{"in_chans": "told num_filters", "out_chans": "told num_filters", "chans": "told num_filters"},
        **{"num_pool_layers": "told num_pools", "drop_prob": TRAINING},
    },
    ("fastmri", "VarNet"): {
        **{"num_cascades": "told num_cascades", "chans": "told num_filters", "pools": "told num_pools"},
        **{"sens_chans": "told refiner_filters", "sens_pools": "told refiner_pools"},
        "mask_center": "assumed num_low_frequencies",
    },
    (BENCHMARK, "CascadeNet"): {
        **{"n_cascade": "told num_cascades", "n_convs": "told num_convolutions", "n_filters": "told num_filters"},
        **{"noiseless": "told soft_consistency", "activation": "asked activation", **FUNCTIONAL},
    },
    (BENCHMARK, "DIP"): {
        **{"n_hidden": "told num_hidden", "n_base": "told base_size", "n_up": "told num_upsamplings"},
        **{"n_filters": "told num_filters", "im_size": SCAN, "bn": "told batch_normalization"},
        **{"multicoil": "told num_coils", "n_coils": "told num_coils"},
    },
    (BENCHMARK, "DealiasingNet"): {  # UnetComplex and VnetComplex
        **dict.fromkeys(("n_input_channels", "n_output_channels", "kernel_size", "n_layers"), "told network"),
        **dict.fromkeys(("layers_n_channels", "layers_n_non_lins", "channel_attention_kwargs"), "told network"),
        **{"res": "asked residual", "non_linearity": "assumed network.activation", "dcomp": "asked compensated"},
        **{"dealiasing_nc_fastmri": SCAN, "dealiasing_nc": SCAN, "multicoil": SCAN, **NUFFT},
    },
    (BENCHMARK, "KIKINet"): {  # and its form that is trained network by network
        **{"n_cascade": "told num_cascades", "n_convs": "told num_convolutions", "n_filters": "told num_filters"},
        **{"noiseless": "told soft_consistency", "activation": "asked activation", **FUNCTIONAL},
        **{"previous_net": "told final_consistency", "multiply_scalar": "told soft_consistency"},
        **{"to_add": "told num_cascades", "last": "told final_consistency"},
    },
    (BENCHMARK, "NCPDNet"): {
        **{"n_filters": "told num_filters", "n_primal": "told num_primal", "n_iter": "told num_iterations"},
        **{**CROSS_DOMAIN, "three_d": "told physics", "dcomp": "asked compensated", **NUFFT},
        "activation": TRAINING,  # the class does not use it
        "normalize_image": "asked normalized",
    },
    (BENCHMARK, "PDNet"): {
        **{"n_filters": "told num_filters", "n_primal": "told num_primal", "n_dual": "told num_dual"},
        **{"n_iter": "told num_iterations", "primal_only": "told primal_only", "activation": "assumed activation"},
        **{**FUNCTIONAL, **CROSS_DOMAIN},
    },
    (BENCHMARK, "UNet"): UNET,
    (BENCHMARK, "UPDNet"): {
        **{**CROSS_DOMAIN, **IMAGE_UNET, "res": "assumed residual", "n_primal": "told num_primal"},
        **{"n_dual": "told num_dual", "n_iter": "told num_iterations", "primal_only": "told kspace_network"},
    },
    (BENCHMARK, "XPDNet"): {
        **{**CROSS_DOMAIN, "model_fun": "told image_network", "n_scales": "asked pad_multiple"},
        **{"n_primal": "told num_primal", "n_dual": "told num_dual", "n_dual_filters": "told kspace_network"},
        **{"n_iter": "told num_iterations", "primal_only": "told kspace_network", "res": "asked residual"},
        "multiscale_kspace_learning": "told kspace_network",
        **{f"model_kwargs.{name}": fate for kwargs in MODEL_KWARGS.values() for name, fate in kwargs.items()},
    },
}

CASES = {  # recordings in which the arrays tell what they can
    ("deep-jsense", "MoDL"): ["deepjsense_modl"],
    ("direct", "KIKINet"): ["direct_kikinet_unet_conv_normalize"],
    ("direct", "LPDNet"): ["direct_lpdnet_unet_conv"],
    ("direct", "MoDL"): ["direct_conjgradnet_resnet"],
    ("direct", "RecurrentVarNet"): ["direct_recurrentvarnet"],
    ("direct", "RefinedMaps"): ["direct_sensitivity_estimator", "direct_normunetmodel2d"],
    ("direct", "UNet"): ["direct_unet2d_zerofilled"],
    ("direct", "VarNet"): ["direct_e2evarnet"],
    ("direct", "VSHARP"): ["direct_vsharp2d_resnet"],
    ("direct", "VSHARP3D"): ["direct_vsharp3d"],
    ("direct", "XPDNet"): ["direct_xpdnet_conv"],
    ("fastmri", "FastMRIUNet"): ["fastmri_unet"],
    ("fastmri", "VarNet"): ["fastmri_varnet"],
    (BENCHMARK, "CascadeNet"): ["cascade_net"],
    (BENCHMARK, "DIP"): ["dip"],
    (BENCHMARK, "DealiasingNet"): ["unet_complex_nc", "vnet_complex_nc"],
    (BENCHMARK, "KIKINet"): ["kiki_net", "kiki_sep"],
    (BENCHMARK, "NCPDNet"): ["ncpdnet_multicoil", "ncpdnet_3d"],
    (BENCHMARK, "PDNet"): ["pdnet", "pdnet_subclassed", "pdnet_multicoil_refine"],
    (BENCHMARK, "UNet"): ["unet"],
    (BENCHMARK, "UPDNet"): ["updnet"],
    (BENCHMARK, "XPDNet"): ["xpdnet_mwcnn", "xpdnet_mwcnn_dual", "xpdnet_dncnn", "xpdnet_unet"],
}
# Arguments of ours that no foreign network has: how a fit goes on, and of what there is none in the source.
OURS = {
    "DIP": {"num_steps", "seed"},
    "FastMRIUNet": {"crop"},
    "UNet": {"normalized", "crop", "penultimate_activation"},
    "NCPDNet": set(),
    "MoDL": {"start"},
}
CONDITIONAL = {  # asked for where a checkpoint has such networks, or has not the arrays that tell
    "RecurrentVarNet": {"num_iterations"},
    "MoDL": {"network.activation"},
    "VSHARP": {"initializer_activation", "denoiser.activation"},
    "VSHARP3D": {"initializer_activation", "denoiser.activation"},
    "UPDNet": {"image_network", "num_primal"},
    "XPDNet": {"image_network", "num_primal", "pad_multiple", "residual", "image_network.activation"}
    | {"kspace_network.activation"},
    "KIKINet": {"image_network.activation", "kspace_network.activation"},
    "LPDNet": {"image_network.activation", "kspace_network.activation"},
}


def file_of(root, case):
    folder = next(root.glob(f"*/{case}"))
    return next(
        path
        for name in ("checkpoint.h5", "checkpoint.safetensors", "checkpoint.pt", "model_7.pt")
        for path in [folder / name]
        if path.is_file()
    )


@pytest.fixture(scope="module")
def told():
    """What the arrays of the recordings tell of each architecture."""
    return {key: {name for arguments, _ in found for name in arguments} for key, found in recorded().items()}


@functools.cache
def recorded():
    """Of each architecture, what the arrays of each recording tell, and what becomes of the architecture by it."""
    pytest.importorskip("torch")
    root, found = Path(__file__).parents[2] / "reference", {}
    for key, cases in CASES.items():
        checkpoints = [Checkpoint(file_of(root, case)) for case in cases]
        found[key] = [(infer_config(checkpoint, *key), checkpoint) for checkpoint in checkpoints]
    foreign = {key: find_architecture(*key) for key in found}
    return {
        key: [(arguments, foreign[key].adapt(foreign[key], checkpoint, arguments)) for arguments, checkpoint in pairs]
        for key, pairs in found.items()
    }


def test_the_table_has_every_architecture():
    assert set(TABLE) == set(CASES) == {(source, name) for source in SOURCES for name in SOURCES[source]}


@pytest.mark.parametrize("key", TABLE, ids=" ".join)
def test_every_foreign_argument_is_told_asked_or_assumed(told, key):
    foreign, wrong = find_architecture(*key), {}
    known = {
        "told": told[key] | {"refiner"},  # of the network for maps, which `extend` reads
        "asked": set(foreign.asks),
        "assumed": {*foreign.assumes, *foreign.fixed, *foreign.extension},
    }
    known["assumed"].update(name for _, adapted in recorded()[key] for name in adapted.fixed)
    for argument, fate in TABLE[key].items():
        kind, _, name = fate.partition(" ")
        if fate not in (TRAINING, SCAN) and name not in known[kind]:
            wrong[argument] = fate
    assert not wrong


@pytest.mark.parametrize("key", TABLE, ids=" ".join)
def test_every_argument_of_ours_is_told_asked_or_assumed(told, key):
    foreign = find_architecture(*key)
    keras_own = {"name", "trainable", "dtype"}
    arguments = set(foreign.model().get_config()) - keras_own
    known = told[key] | set(foreign.asks) | set(foreign.assumes) | OURS.get(foreign.model.__name__, set())
    assert arguments <= known, sorted(arguments - known)


@pytest.mark.parametrize("key", TABLE, ids=" ".join)
def test_what_is_asked_or_assumed_is_an_argument(key):
    """Of the model, of a network within, or of the source alone; and one is not both."""
    foreign = find_architecture(*key)
    arguments = {*foreign.model().get_config(), *foreign.extension}
    for name in (*foreign.asks, *foreign.assumes):
        assert name.partition(".")[0] in arguments or name in foreign.fixed, name
    assert not set(foreign.assumes) & {*foreign.asks, *foreign.fixed}
    defaults = foreign.model().get_config()
    for name, value in foreign.assumes.items():
        if name == "physics" or name not in defaults:
            continue
        foreign.model(**{name: value})


@pytest.mark.parametrize("name", published())
def test_published_entries_give_what_is_asked_for(name):
    entry = published()[name]
    foreign = find_architecture(entry["source"], entry["architecture"])
    unasked = (
        CONDITIONAL.get(entry["architecture"], set()) if entry["architecture"] != "MoDL" else {"network.activation"}
    )
    assert set(foreign.asks) - unasked <= set(entry["config"])


RECORDED = Path(os.environ.get("MRI_ZOO_SHARED", Path(__file__).parents[4] / "shared")) / "reference"


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recordings at {RECORDED}; set MRI_ZOO_SHARED")
@pytest.mark.parametrize("key", TABLE, ids=" ".join)
def test_recorded_arguments_are_in_the_table(key):
    for case in CASES[key]:
        config = json.loads((next(RECORDED.glob(f"*/{case}")) / "config.json").read_text())
        kwargs = config["kwargs"].get("hparams", config["kwargs"])
        names = {name for name in kwargs if name != "model_kwargs"}
        names |= {f"model_kwargs.{name}" for name in kwargs.get("model_kwargs", {})}
        assert names <= set(TABLE[key]), sorted(names - set(TABLE[key]))


# Every recorded checkpoint: architecture and what is asked for, or why it is refused. Numbers: tests of the models.
GRIDDED = {"compensated": True, "normalized": False}
DEALIASING = {"compensated": True, "residual": True}
LEAKY = {"initializer_activation": 0.01}
OUTCOMES = {
    "cascade_net": ("CascadeNet", {"activation": "relu"}, None),
    "denoiser_didn": ("UNet", {}, "its network sees 4 channels and gives 2 .*`input_size`"),
    "denoiser_dncnn_res": ("UNet", {}, "its network sees 2 channels"),
    "denoiser_focnet": ("UNet", {}, "its network sees 4 channels"),
    "denoiser_mwcnn": ("UNet", {}, "its network sees 6 channels"),
    "denoiser_mwcnn_bn_res": ("UNet", {}, "its network sees 2 channels"),
    "denoising_dncnn": ("UNet", {"penultimate_activation": None}, "has batch normalisation, which this UNet has not"),
    "denoising_unet": ("UNet", {"penultimate_activation": None, "normalized": False}, None),
    "denoising_unet_bn_flat": ("UNet", {"penultimate_activation": None}, "has batch normalisation, which this UNet"),
    "dip": ("DIP", {}, None),
    "exact_recon_unet": ("UNet", {"penultimate_activation": None}, "has batch normalisation, which this UNet has not"),
    "full_unet_320": ("UNet", {"penultimate_activation": "relu"}, None),
    "kiki_net": ("KIKINet", {"activation": 0.1}, None),
    "kiki_sep": ("KIKINet", {"activation": 0.1}, None),
    "learnlet": ("UNet", {}, r"is a kernel of 11 x 11 \(`kernel_size`\)"),
    "learnlet_exact": ("UNet", {}, r"is a kernel of 11 x 11 \(`kernel_size`\)"),
    "learnlet_hard": ("UNet", {}, r"is a kernel of 11 x 11 \(`kernel_size`\)"),
    "ncpdnet_3d": ("NCPDNet", GRIDDED, None),
    "ncpdnet_multicoil": ("NCPDNet", GRIDDED, None),
    "ncpdnet_radial": ("NCPDNet", GRIDDED, None),
    "pdnet": ("PDNet", {}, None),
    "pdnet_multicoil_refine": ("PDNet", {}, None),
    "pdnet_subclassed": ("PDNet", {}, None),
    "pdnet_subclassed_primal_only": ("PDNet", {}, None),
    "unet": ("UNet", {"penultimate_activation": "relu"}, None),
    "unet_complex": ("DealiasingNet", DEALIASING, "sees 4 real channels and gives 2 .`n_input_channels`"),
    "unet_complex_nc": ("DealiasingNet", DEALIASING, None),
    "unet_old": ("UNet", {"penultimate_activation": None}, None),
    "unet_prelu_ca": ("UNet", {}, r"has channel attention \(`dense`\), which UNet has not"),
    "updnet": ("UPDNet", {}, None),
    "vnet": ("DealiasingNet", DEALIASING, None),
    "vnet_complex_nc": ("DealiasingNet", DEALIASING, None),
    "xpdnet_didn": ("XPDNet", {"residual": True}, None),
    "xpdnet_dncnn": ("XPDNet", {"residual": True}, None),
    "xpdnet_mwcnn": ("XPDNet", {"residual": True}, None),
    "xpdnet_mwcnn_dual": ("XPDNet", {"residual": False}, None),
    "xpdnet_unet": ("XPDNet", {"residual": True, "pad_multiple": 8}, None),
    "deepjsense": ("MoDL", {}, r"has a network for the maps \(`use_map_net`\), which MoDL has not"),
    "deepjsense_modl": ("MoDL", {"mode": "MoDL", "num_iterations": 2, "num_steps": 3}, None),
    "direct_conjgradnet_resnet": ("MoDL", {"num_steps": 5, "start": "adjoint"}, None),
    "direct_e2evarnet": ("VarNet", {}, None),
    "direct_jssl_engine_unet": ("UNet", {"residual": False, "combine_coils": True}, None),
    "direct_jssl_engine_vsharp": ("VSHARP", {}, None),
    "direct_kikinet_unet_conv_normalize": ("KIKINet", {}, None),
    "direct_lpdnet_mwcnn_didn": ("LPDNet", {}, None),
    "direct_lpdnet_unet_conv": ("LPDNet", {}, None),
    "direct_normunetmodel2d": ("RefinedMaps", {}, r"gives a weight of shape \(3, 3, 6, 4\); expected \(3, 3, 2, 4\)"),
    "direct_normunetmodel3d": ("RefinedMaps", {}, "is of 3 dimensions and 2 outputs; expected one of slices"),
    "direct_recurrentvarnet": ("RecurrentVarNet", {}, None),
    "direct_sensitivity_estimator": ("RefinedMaps", {}, None),
    "direct_unet2d_sense_norm_skip": ("UNet", {"residual": True, "combine_coils": True}, None),
    "direct_unet2d_zerofilled": ("UNet", {"residual": False, "combine_coils": False}, None),
    "direct_unetmodel2d": ("RefinedMaps", {}, None),
    "direct_unetmodel3d": ("RefinedMaps", {}, "is of 3 dimensions and 2 outputs; expected one of slices"),
    "direct_varsplitnet": ("VarNet", {}, "the arrays of `layers_list.0.regularizer_model.` are of no network"),
    "direct_vsharp2d_conv": ("VSHARP", LEAKY, None),
    "direct_vsharp2d_normunet": ("VSHARP", LEAKY, None),
    "direct_vsharp2d_resnet": ("VSHARP", LEAKY, None),
    "direct_vsharp2d_unet_auxall": ("VSHARP", {}, None),
    "direct_vsharp2d_unet_lastonly": ("VSHARP", {"initializer_activation": "relu"}, None),
    "direct_vsharp3d": ("VSHARP3D", {}, None),
    "direct_xpdnet_conv": ("XPDNet", {}, None),
    "direct_xpdnet_primal": ("XPDNet", {}, None),
    "fastmri_normunet": ("VarNet", {}, "has no array `sens_net.norm_unet.unet.down_sample_layers.0"),
    "fastmri_unet": ("FastMRIUNet", {}, None),
    "fastmri_varnet": ("VarNet", {}, None),
}


def source_of(case):
    named = {"deepjsense": "deep-jsense", "direct": "direct", "fastmri": "fastmri"}
    return named.get(case.partition("_")[0], BENCHMARK)


@pytest.mark.parametrize("case", [case for case, (*_, message) in OUTCOMES.items() if message is not None])
def test_recorded_checkpoints_of_other_networks_are_refused_by_their_option(reference, case):
    root = reference if list(reference.glob(f"*/{case}/checkpoint*")) else RECORDED
    if not list(root.glob(f"*/{case}")):
        pytest.skip(f"no recording of {case} at {root}")
    architecture, config, message = OUTCOMES[case]
    with pytest.raises(DataError, match=message):
        import_checkpoint(file_of(root, case), source_of(case), architecture, config)


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recordings at {RECORDED}; set MRI_ZOO_SHARED")
@pytest.mark.parametrize("case", [case for case, (*_, message) in OUTCOMES.items() if message is None])
def test_recorded_checkpoints_are_imported(case):
    """With every array in its place; the models' own tests compare the numbers."""
    architecture, config, _ = OUTCOMES[case]
    model = import_checkpoint(file_of(RECORDED, case), source_of(case), architecture, config)
    assert set(model.import_report.given) == set(config)


def test_no_recorded_checkpoint_is_forgotten(reference):
    for root in (reference, RECORDED):
        found = {path.parent.name for path in root.glob("*/*/io.npz")}
        assert found <= set(OUTCOMES), sorted(found - set(OUTCOMES))


def resolved(path, source, architecture, config):
    """The arguments and the report of an import, without its model."""
    checkpoint, foreign = Checkpoint(path), find_architecture(source, architecture)
    told = infer_config(checkpoint, source, architecture)
    return resolve(foreign.adapt(foreign, checkpoint, told), checkpoint, told, config, architecture)


def networks_of(name, kind):
    return {argument: fate for argument, fate in networks(name).items() if argument.startswith(kind)}


REPORTED = {  # a checkpoint of each kind, and what its source's networks take besides the arguments of the whole
    **{case: {} for cases in CASES.values() for case in cases},
    **{case: kwargs for case, kwargs in MODEL_KWARGS.items() if case != "xpdnet_focnet"},
    **dict.fromkeys(("updnet", "xpdnet_mwcnn_dual"), {"activation": "assumed kspace_network.activation"}),
    "unet_complex_nc": {"non_linearity": "assumed network.activation"},
    "vnet_complex_nc": {"non_linearity": "assumed network.activation"},
    "direct_conjgradnet_resnet": networks_of("network", "resnet"),
    "direct_unet2d_sense_norm_skip": {"norm_groups": "assumed norm_groups"},
    "direct_vsharp2d_normunet": {"norm_groups": "assumed denoiser.norm_groups"},
    "direct_vsharp2d_resnet": networks_of("denoiser", "resnet"),
}
del REPORTED["direct_sensitivity_estimator"]  # whose network is without a norm


@pytest.mark.parametrize("case", REPORTED)
def test_reports_have_every_option_that_is_asked_or_assumed(reference, case):
    """Not only the tables of the importers, of which some entries are of other networks than a checkpoint has."""
    pytest.importorskip("torch")
    (architecture, config, _), source = OUTCOMES[case], source_of(case)
    _, report = resolved(file_of(reference, case), source, architecture, config)
    named = {*report.told, *report.given, *report.assumed, *find_architecture(source, architecture).extension}
    of_the_whole = {name: fate for name, fate in TABLE[source, architecture].items() if "." not in fate}
    wrong = {
        argument: fate
        for argument, fate in (of_the_whole | REPORTED[case]).items()
        if fate.startswith(("asked", "assumed")) and fate.partition(" ")[2] not in named
    }
    assert not wrong


def test_given_and_assumed_options_are_told_apart(reference, tmp_path):
    path = file_of(reference, "direct_vsharp2d_resnet")
    model = import_checkpoint(path, "direct", "VSHARP", {**LEAKY, "denoiser.scale": 0.5, "start": "coil_sum"})
    assert {network.scale for network in model.denoisers} == {0.5} and model.start == "coil_sum"
    report = model.import_report
    assert report.given == {**LEAKY, "denoiser.scale": 0.5, "start": "coil_sum"}
    assert report.assumed.keys() == {"initializer_dilations", "physics", "data_consistent"}
    assert report.assumptions().startswith("initializer_dilations=(1, 1, 2, 4), physics=Cartesian(dimensions=2, ")
    assert model.get_config()["initializer_dilations"] == (1, 1, 2, 4)


def test_options_that_the_zoo_has_in_one_value(reference):
    path, config = file_of(reference, "deepjsense_modl"), {"num_iterations": 2, "num_steps": 3}
    with pytest.raises(ValueError, match="does not tell `mode`: give it in `config`"):
        import_checkpoint(path, "deep-jsense", "MoDL", config)
    with pytest.raises(
        DataError, match="`mode` is 'DeepJSense' in `config`; of MoDL of deep-jsense the zoo has 'MoDL'"
    ):
        import_checkpoint(path, "deep-jsense", "MoDL", {**config, "mode": "DeepJSense"})
    path = file_of(reference, "unet")
    with pytest.raises(DataError, match="`non_relu_contract` is True in `config`; of UNet of .* the zoo has False"):
        import_checkpoint(path, BENCHMARK, "UNet", {"penultimate_activation": None, "non_relu_contract": True})


def test_groups_of_normalised_unets_are_told(reference, tmp_path):
    """DIRECT's `norm_groups` changes no array."""
    safetensors = pytest.importorskip("safetensors.numpy")
    path = file_of(reference, "direct_vsharp2d_normunet")
    _, report = resolved(path, "direct", "VSHARP", LEAKY)
    assert report.assumed["denoiser.norm_groups"] == 2
    config = {**LEAKY, "denoiser.norm_groups": 2}
    assert "denoiser.norm_groups" not in resolved(path, "direct", "VSHARP", config)[1].assumed
    with pytest.raises(DataError, match="`denoiser.norm_groups` is 4 in `config`; of VSHARP of direct the zoo has 2 a"):
        import_checkpoint(path, "direct", "VSHARP", {**config, "denoiser.norm_groups": 4})
    arrays = Checkpoint(file_of(reference, "direct_sensitivity_estimator")).arrays
    last = next(name for name in arrays if name.endswith("down_sample_layers.0.layers.0.weight"))
    prefix = last.removesuffix("down_sample_layers.0.layers.0.weight")
    arrays = {f"{prefix}unet2d.{name.removeprefix(prefix)}": array for name, array in arrays.items()}
    safetensors.save_file(arrays, tmp_path / "maps.safetensors")
    model = import_checkpoint(tmp_path / "maps.safetensors", "direct", "RefinedMaps")
    assert model.import_report.assumed.keys() == {"physics", "refiner.norm_groups", "sigma"}
    with pytest.raises(DataError, match="`refiner.norm_groups` is 1 in `config`"):
        import_checkpoint(tmp_path / "maps.safetensors", "direct", "RefinedMaps", {"refiner.norm_groups": 1})


@pytest.mark.parametrize("name", ["residual", "non_relu_contract"])
def test_functional_unets_of_xpdnet_are_as_those_of_unet(reference, name):
    path, config = file_of(reference, "xpdnet_unet"), {"residual": True, "pad_multiple": 8}
    name = f"image_network.{name}"
    assert resolved(path, BENCHMARK, "XPDNet", config)[1].assumed[name] is False
    with pytest.raises(DataError, match=f"`{name}` is True in `config`; of XPDNet of .* the zoo has False alone"):
        import_checkpoint(path, BENCHMARK, "XPDNet", {**config, name: True})


@pytest.mark.parametrize(
    "case, architecture, network",
    [
        ("xpdnet_unet", "XPDNet", "image_network"),
        ("updnet", "UPDNet", "kspace_network"),
        ("unet_complex_nc", "DealiasingNet", "network"),
    ],
)
def test_the_penultimate_activation_follows_the_one_that_is_given(reference, case, architecture, network):
    """They have one `non_linearity`."""
    path, config, name = file_of(reference, case), OUTCOMES[case][1], f"{network}.penultimate_activation"
    for given, expected in (({}, "relu"), ({f"{network}.activation": 0.1}, 0.1), ({name: None}, None)):
        arguments, report = resolved(path, BENCHMARK, architecture, {**config, **given})
        assert arguments[network].penultimate_activation == expected
        assert report.assumed.get(name, "given") == ("given" if name in given else expected)


@pytest.mark.parametrize(
    "name, value",
    [
        ("image_network.activation", "lrelu"),
        ("image_network.activation", {"class_name": "Xyzzy"}),
        ("image_network.activation", ["relu"]),
        ("image_network.activation", True),
        ("image_network.pooling", "avg"),
        ("image_network.residual", "no"),
        ("image_network.residual", {"class_name": "Xyzzy"}),
        ("image_network.num_filters", 4),
        ("image_network.num_filters", [4, "8", 16]),
        ("image_network.num_outputs", None),
    ],
)
def test_wrong_options_of_networks_are_one_line(reference, name, value):
    config = {"residual": True, "pad_multiple": 8, "refiner_filters": None, name: value}
    with pytest.raises(DataError, match=f"checkpoint.h5: .*`{name}`") as caught:
        import_checkpoint(file_of(reference, "xpdnet_unet"), BENCHMARK, "XPDNet", config)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize("network", [{"class_name": "Xyzzy"}, {"class_name": "UNetBlock", "config": 3}])
def test_networks_that_are_none_are_one_line(reference, network):
    config = {"residual": True, "pad_multiple": 8, "image_network": network, "image_network.pooling": "average"}
    with pytest.raises(ValueError, match="`image_network` (is a dict|cannot be)") as caught:
        import_checkpoint(file_of(reference, "xpdnet_unet"), BENCHMARK, "XPDNet", config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"data_consistent": "false"}, "`data_consistent` must be True or False, got 'false'"),
        ({"sigma": "0.7"}, "`sigma` must be a number > 0 or None, got '0.7'"),
        ({"sigma": True}, "`sigma` must be a number > 0 or None, got True"),
    ],
)
def test_wrong_options_of_what_extends_a_network_are_refused(reference, config, message):
    pytest.importorskip("torch")
    path, asked = file_of(reference, "direct_jssl_engine_unet"), OUTCOMES["direct_jssl_engine_unet"][1]
    with pytest.raises(DataError, match=message):
        import_checkpoint(path, "direct", "UNet", {**asked, **config})


def test_the_sources_own_options_lead_to_ours(reference):
    pytest.importorskip("torch")
    path = file_of(reference, "fastmri_varnet")
    with pytest.raises(
        ValueError, match="`mask_center` is no argument of VarNet .* Write `num_low_frequencies`: null "
    ):
        import_checkpoint(path, "fastmri", "VarNet", {"mask_center": False})
    for case in ("direct_kikinet_unet_conv_normalize", "direct_xpdnet_conv"):
        with pytest.raises(DataError, match="False alone. Its True is .* `--scaling kspace_percentile:99:3`"):
            import_checkpoint(file_of(reference, case), "direct", OUTCOMES[case][0], {"normalize": True})
    assert parse_scaling("kspace_percentile:99:3") == KSpacePercentileScaling(99, 3)


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "denoiser.xyzzy",
            r"Unknown argument 'denoiser.xyzzy' of VSHARP of direct, whose `denoiser` is a ScaledResNet\.",
        ),
        ("denoiser.scales", "whose `denoiser` is a ScaledResNet; did you mean 'scale'"),
        ("refiner.scale", "Unknown argument of VSHARP of direct 'refiner.scale'"),
        ("xyzzy", r"Unknown argument of VSHARP of direct 'xyzzy'\. There are"),
    ],
)
def test_unknown_options_of_networks(reference, name, message):
    with pytest.raises(ValueError, match=message):
        import_checkpoint(file_of(reference, "direct_vsharp2d_resnet"), "direct", "VSHARP", {**LEAKY, name: 1})


@pytest.mark.parametrize(
    "source, name, message",
    [
        ("fastmri", "PDNet", f"PDNet is an architecture of {BENCHMARK}, not of fastmri, which has FastMRIUNet, VarNet"),
        ("direct", "NCPDNet", f"NCPDNet is an architecture of {BENCHMARK}, not of direct"),
        ("direct", "MRIVarSplitNet", "The zoo has no MRIVarSplitNet of direct; there are KIKINet, "),
        ("direct", "Xyzzy", "Unknown architecture of direct 'Xyzzy'. There are KIKINet, "),
        ("keras", "UNet", "Unknown source 'keras'. There are deep-jsense, "),
    ],
)
def test_names_of_other_sources_do_not_mislead(source, name, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        find_architecture(source, name)


def test_one_networks_conv_asks_for_its_slope(tmp_path):
    """DIRECT's convolutions without learned slopes may have ReLU or a leaky one: their arrays are the same."""
    torch = pytest.importorskip("torch")
    from mri_zoo.layers.direct import DirectConvNet
    from mri_zoo.models import VSHARP

    model = VSHARP(DirectConvNet(2, 3, 2, activation=0.01), 1, 1, initializer_filters=(2,), initializer_dilations=(1,))
    model.build()
    network, initializer = model.denoisers[0], model.initializer
    tensors = {"rho": model.penalties, "learning_rate_eta": model.step_sizes}
    named = {f"denoiser_blocks.0.conv.{2 * i}": layer for i, layer in enumerate(network.convolutions)}
    named |= {
        "initializer.conv_blocks.0.1": initializer.convolutions[0],
        "initializer.out_block.0": initializer.outputs[0],
    }
    for name, layer in named.items():
        tensors[f"{name}.weight"] = keras.ops.transpose(layer.kernel, (3, 2, 0, 1))
        tensors[f"{name}.bias"] = layer.bias
    tensors["initializer.activation.weight"] = initializer.outputs[0].activation.alpha
    arrays = {name: torch.tensor(keras.ops.convert_to_numpy(value)) for name, value in tensors.items()}
    arrays["initializer.activation.weight"] = arrays["initializer.activation.weight"].reshape(1)
    torch.save(arrays, tmp_path / "vsharp.pt")
    with pytest.raises(ValueError, match="does not tell `denoiser.activation`: give it in `config`"):
        import_checkpoint(tmp_path / "vsharp.pt", "direct", "VSHARP", {"initializer_dilations": [1]})
    config = {"initializer_dilations": [1], "denoiser.activation": 0.01}
    found = import_checkpoint(tmp_path / "vsharp.pt", "direct", "VSHARP", config)
    assert found.denoisers[0].activation == 0.01
