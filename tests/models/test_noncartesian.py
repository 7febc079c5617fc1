"""Every model that takes a physics, on non-Cartesian data."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import acquire, acquire_noncartesian, relative_error
from keras import ops
from keras.src.trainers.trainer import model_supports_jit

from mri_zoo.layers.convnet import ComplexNet, ConvNet
from mri_zoo.layers.direct import DirectConvNet
from mri_zoo.layers.instance_unet import InstanceUNet
from mri_zoo.layers.resnet import PreActivationResNet
from mri_zoo.layers.sensitivity import SensitivityRefiner
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.models import (
    VSHARP,
    CascadeNet,
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
from mri_zoo.models.base import magnitude_like
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.gridded import Gridded
from mri_zoo.physics.noncartesian import NonCartesian

XPDNET = {"image_network": ConvNet(4, 4, 1), "num_iterations": 2, "num_primal": 2, "pad_multiple": 1}
LPDNET = {"num_primal": 2, "num_dual": 0, "image_network": DirectConvNet(4, 4, 2)}
INITIALIZER = {"initializer_filters": (4,), "initializer_dilations": (2,), "initializer_scales": 1}
VARNET = {"num_cascades": 2, "num_filters": 3, "num_pools": 1}
REFINER = SensitivityRefiner(ComplexNet(InstanceUNet(2, 3, 1), residual=False))
MODELS = {
    "cascade_net": lambda **options: CascadeNet(2, 1, 4, soft_consistency=True, **options),
    "dealiasing_net": lambda **options: DealiasingNet(UNetBlock(2, (4, 6), 1), **options),
    "direct_unet": lambda **options: DirectUNet(num_filters=4, num_pools=2, combine_coils=True, **options),
    "fastmri_unet": lambda **options: FastMRIUNet(num_filters=3, num_pools=2, **options),
    "lpdnet": lambda **options: LPDNet(2, exchange="all", **LPDNET, **options),
    "modl": lambda **options: MoDL(2, PreActivationResNet(2, 4, 2), num_steps=2, **options),
    "ncpdnet": lambda **options: NCPDNet(2, 2, 4, refiner_filters=(3,), **options),
    "ncpdnet_normalized": lambda **options: NCPDNet(2, 2, 4, normalized=True, **options),
    "pdnet": lambda **options: PDNet(2, 2, 1, 4, primal_only=True, **options),
    "recurrent_varnet": lambda **options: RecurrentVarNet(2, 4, 1, **INITIALIZER, **options),
    "refined_maps": lambda physics: RefinedMaps(PDNet(2, 2, 1, 4, True, physics=physics), REFINER),
    "unet": lambda **options: UNet((4, 6), 1, **options),
    "vsharp": lambda **options: VSHARP(DirectConvNet(2, 4, 2), 2, 2, **INITIALIZER, **options),
    "varnet": lambda **options: VarNet(**VARNET, refiner_filters=2, refiner_pools=1, **options),
    "varnet_given_maps": lambda **options: VarNet(**VARNET, refiner_filters=None, **options),
    "xpdnet": lambda **options: XPDNet(refiner_filters=None, **XPDNET, **options),
    "zero_filled": ZeroFilled,
}
# VarNet's maps come from lines of k-space on one physics, from a window of low frequencies on the other. The normalized
# network divides by the residual, which is zero on the full grid.
DIFFERENT_ON_THE_GRID = ("varnet", "ncpdnet_normalized")


@pytest.fixture(autouse=True)
def same_weights_each_time():
    keras.utils.set_random_seed(0)


def mostly_slow(names, quick):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in quick)) for name in names]


@pytest.mark.parametrize(
    "name", mostly_slow([name for name in MODELS if name not in DIFFERENT_ON_THE_GRID], ("lpdnet", "modl", "ncpdnet"))
)
def test_on_the_full_grid_both_physics_give_the_same_image(rng, name):
    samples, image = acquire_noncartesian(rng, coils=2, maps=True, full_grid=True)
    grid = {"kspace": samples["kspace"].reshape(2, 2, 15, 13), "mask": np.ones((2, 1, 1, 13), "float32")}
    grid["sensitivity_maps"] = samples["sensitivity_maps"]
    model, other = MODELS[name](physics=Cartesian()), MODELS[name](physics=NonCartesian((15, 13)))
    model.build()
    other.build()
    other.set_weights(model.get_weights())
    assert relative_error(other(samples), model(grid)) < 2e-5


@pytest.mark.parametrize("name", mostly_slow(MODELS, ("ncpdnet_normalized", "varnet")))
def test_every_weight_has_a_finite_gradient(rng, name):
    model = MODELS[name](physics=NonCartesian((15, 13), center_fraction=0.4))
    batch, image = acquire_noncartesian(rng, coils=2)
    with tf.GradientTape() as tape:
        loss = ops.mean(ops.abs(magnitude_like(np.abs(image), model(batch)) - np.abs(image)))
    gradients = tape.gradient(loss, model.trainable_variables)
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.all(np.isfinite(gradient)) and np.any(gradient), weight.path


@pytest.mark.parametrize(
    "physics, expected",
    [
        (Cartesian(), True),
        (Gridded((15, 13)), False),
        (NonCartesian((15, 13)), False),  # FINUFFT, on the CPU
        (NonCartesian((15, 13), implementation="finufft"), False),
        (NonCartesian((15, 13), implementation="kaiser_bessel"), True),
    ],
)
@pytest.mark.filterwarnings("ignore:Model doesn't support `jit_compile=True`")
def test_keras_compiles_no_call_to_the_host(rng, physics, expected):
    model = MODELS["pdnet"](physics=Cartesian())
    model.physics = physics
    assert model_supports_jit(model) == expected
    assert model_supports_jit(RefinedMaps(model, REFINER)) == expected
    model.compile("adam", "mae", jit_compile=True)  # where it is impossible, Keras warns
    assert model.jit_compile == expected
    batch, image = (acquire_noncartesian if physics.along_trajectory else acquire)(rng)
    assert np.isfinite(model.train_on_batch(batch, np.abs(image)))


@pytest.mark.parametrize(
    "create, message",
    [
        (KIKINet, "KIKINet needs k-space on a grid: `physics` must be Cartesian, got NonCartesian"),
        (DirectKIKINet, "DirectKIKINet needs k-space on a grid"),
        (LPDNet, "LPDNet with `num_dual` > 0 needs k-space on a grid"),
        (PDNet, "PDNet without `primal_only` needs k-space on a grid"),
        (lambda **options: XPDNet(kspace_network=ConvNet(2), **options), "XPDNet with `kspace_network` needs k-space"),
    ],
)
def test_networks_in_kspace_are_refused(create, message):
    with pytest.raises(ValueError, match=message):
        create(physics=NonCartesian())


def test_volumes_need_maps_that_are_given():
    with pytest.raises(ValueError, match="`refiner_filters` are of two dimensions, the physics is of 3"):
        NCPDNet(refiner_filters=(4,), physics=NonCartesian(dimensions=3))


@pytest.mark.parametrize("primal_only", [False, True])
def test_pdnet_reconstructs_volumes_on_a_grid(rng, primal_only):
    model = PDNet(1, 2, 1, 4, primal_only=primal_only, physics=Cartesian(dimensions=3))
    batch, image = acquire(rng, (7, 6, 5), coils=2, maps=True)
    found = model.predict(batch, verbose=0)
    assert found.shape == image.shape and np.all(np.isfinite(found))
    assert {weight.shape[:3] for weight in model.weights if len(weight.shape) > 1} == {(3, 3, 3)}
