"""Options that a foreign checkpoint may have been trained with, equal to PyTorch's layers or to those without."""

import keras
import numpy as np
import pytest
from helpers import acquire, relative_error

from mri_zoo.layers.direct import DilatedMWCNN
from mri_zoo.layers.focnet import FocNet
from mri_zoo.layers.mwcnn import MWCNN
from mri_zoo.layers.recurrent import ConvGRU
from mri_zoo.layers.resnet import ScaledResNet
from mri_zoo.layers.unet import UNetBlock
from mri_zoo.models import DIP, CascadeNet, MoDL, PDNet, UNet


def randomize(network, rng):
    """Random weights; those of batch normalisation are positive variances and scales of either sign."""
    for variable in network.weights:
        value = rng.normal(size=variable.shape) / 3
        variable.assign(0.5 + np.abs(value) if variable.name == "moving_variance" else value)


def channels_first(x):
    return np.moveaxis(np.asarray(x), -1, 1)


@pytest.mark.parametrize("use_bias", [True, False])
def test_normalised_dilated_convolutions_equal_those_of_pytorch(rng, use_bias):
    """One scale of DIRECT's MWCNN has no wavelets."""
    torch = pytest.importorskip("torch")
    network = DilatedMWCNN(2, 3, 1, use_bias=use_bias, batch_normalization=True)
    x = rng.normal(size=(2, 8, 10, 2)).astype("float32")
    network(x)
    randomize(network, rng)
    layers = []
    for convolve, norm, _ in zip(*[iter([*network.down[0], *network.up[0]])] * 3, strict=True):
        (dilation, _), kernel = convolve.dilation_rate, convolve.kernel
        other = torch.nn.Conv2d(*kernel.shape[2:], 3, padding=dilation, dilation=dilation, bias=use_bias)
        other.weight.data = torch.tensor(np.asarray(kernel).transpose(3, 2, 0, 1))
        if use_bias:
            other.bias.data = torch.tensor(np.asarray(convolve.bias))
        other_norm = torch.nn.BatchNorm2d(kernel.shape[3], eps=1e-4, momentum=0.95)
        for name, value in zip(("weight", "bias", "running_mean", "running_var"), norm.get_weights(), strict=True):
            getattr(other_norm, name).data = torch.tensor(value)
        layers += [other, other_norm, torch.nn.ReLU()]
    assert len(layers) == 18
    theirs = torch.nn.Sequential(*layers)
    for training in (False, True):
        expected = theirs.train(training)(torch.tensor(channels_first(x))).detach().numpy()
        assert relative_error(channels_first(network(x, training=training)), expected) < 1e-4
    means = [layer.moving_mean for layer in network.down[0] if hasattr(layer, "moving_mean")]
    expected = theirs[1].running_mean.numpy()
    assert relative_error(means[0], expected) < 1e-5


@pytest.mark.parametrize("pooling, activation", [("average", 0.1), ("max", "relu")])
def test_unet_with_options_equals_pytorch(rng, pooling, activation):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    network = UNetBlock(1, (3, 5), 1, activation, None, pooling=pooling)
    x = rng.normal(size=(2, 8, 6, 1)).astype("float32")
    network(x)
    randomize(network, rng)

    def convolve(layer, y, activated=True):
        kernel = torch.tensor(np.asarray(layer.kernel).transpose(3, 2, 0, 1).copy())
        y = f.pad(y, (0, 1, 0, 1)) if layer.kernel_size == (2, 2) else y
        y = f.conv2d(y, kernel, torch.tensor(np.asarray(layer.bias)), padding=(layer.kernel_size[0] - 1) // 2)
        return f.leaky_relu(y, 0.0 if activation == "relu" else activation) if activated else y

    skip = convolve(network.down[0][0], torch.tensor(channels_first(x)))
    y = convolve(network.bottom[0], (f.max_pool2d if pooling == "max" else f.avg_pool2d)(skip, 2))
    upward, last = network.up[0]
    y = convolve(upward, f.interpolate(y, scale_factor=2, mode="nearest"))
    y = convolve(last, torch.cat([skip, y], 1))
    expected = convolve(network.last, convolve(network.penultimate, y, False), False)
    assert relative_error(channels_first(network(x)), expected.numpy()) < 1e-5


def test_the_residual_unet_subtracts(rng):
    batch, _ = acquire(rng)
    models = [UNet((3, 4), 1, activation=0.1, normalized=False, residual=residual) for residual in (True, False)]
    for model in models:
        model.build()
    models[1].set_weights(models[0].get_weights())
    image = np.abs(np.asarray(models[0].physics.adjoint(batch["kspace"], batch)))
    assert relative_error(models[0](batch), image - models[1](batch)) < 1e-5
    assert type(models[0]).from_config(models[0].get_config()).get_config() == models[0].get_config()
    with pytest.raises(ValueError, match='`pooling` must be "max" or "average", got \'mean\''):
        UNet(pooling="mean")


@pytest.mark.parametrize("first", [0, 2])
def test_without_biases_is_as_with_biases_of_zero(rng, first):
    networks = [MWCNN(2, (3, 4), (2, 1), first, 4, use_bias=use_bias) for use_bias in (True, False)]
    x = rng.normal(size=(1, 8, 8, 2)).astype("float32")
    for network in networks:
        network(x)
    randomize(networks[1], rng)
    without = iter(networks[1].get_weights())
    last = networks[0].last[-1] if first else networks[0].up[0][-1]
    for variable in networks[0].weights:
        if variable.name == "kernel" or variable is last.bias:
            variable.assign(next(without))
    assert not list(without)
    assert relative_error(networks[1](x), networks[0](x)) < 1e-6


def test_focnet_with_batch_normalization(rng):
    """Its means are 0 in the first convolution, after which the scale alone is left: that of the kernel."""
    plain, normalised = FocNet(2, 3, 2), FocNet(2, 3, 2, batch_normalization=True)
    x = rng.normal(size=(1, 8, 8, 2)).astype("float32")
    for network in (plain, normalised):
        network(x)
    randomize(normalised, rng)
    for variable in normalised.weights:
        if variable.name in ("moving_mean", "beta"):
            variable.assign(np.zeros(variable.shape))
    plain.set_weights([np.asarray(v) for v in normalised.weights if v.name not in NORM])
    for convolutions, norms in zip(plain.convolutions, normalised.norms, strict=True):
        for convolve, norm in zip(convolutions, norms, strict=True):
            assert norm.epsilon == 1e-3  # Keras's
            convolve.kernel.assign(convolve.kernel * (norm.gamma / np.sqrt(norm.moving_variance + norm.epsilon)))
    assert relative_error(normalised(x), plain(x)) < 1e-5
    before = np.asarray(normalised.norms[0][0].moving_mean)
    normalised(x, training=True)
    assert np.any(np.asarray(normalised.norms[0][0].moving_mean) != before)
    assert FocNet.from_config(normalised.get_config()).batch_normalization


NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def test_normalised_recurrent_units_equal_pytorch(rng):
    torch = pytest.importorskip("torch")
    plain, normalised = ConvGRU(2, 3, 2), ConvGRU(2, 3, 2, normalized=True)
    x, states = (
        5 + rng.normal(size=(2, 9, 7, 2)).astype("float32"),
        [rng.normal(size=(2, 9, 7, 3)).astype("float32")] * 2,
    )
    for network in (plain, normalised):
        network(x, states)
    randomize(plain, rng)
    normalised.set_weights(plain.get_weights())
    flat = torch.tensor(channels_first(x)).reshape(2, 2, -1)
    mean, deviation = flat.mean(-1, keepdim=True), flat.std(-1, keepdim=True)
    inner, expected_states = plain(channels_last_image((flat - mean) / deviation, (9, 7)), states)
    expected = torch.tensor(channels_first(inner)).reshape(2, 2, -1) * deviation + mean
    found, found_states = normalised(x, states)
    assert relative_error(found, channels_last_image(expected, (9, 7))) < 1e-5
    for ours, theirs in zip(found_states, expected_states, strict=True):
        assert relative_error(ours, theirs) < 1e-5


def channels_last_image(x, size):
    return np.moveaxis(x.reshape(len(x), -1, *size).numpy(), 1, -1)


def test_normalised_decoder_of_dip(rng):
    arguments = {
        "latent_size": 5,
        "num_hidden": 6,
        "base_size": 3,
        "num_upsamplings": 1,
        "num_filters": 4,
        "num_steps": 2,
    }
    model = DIP(batch_normalization=True, **arguments)
    plain = DIP(**arguments)
    for each in (model, plain):
        each.build()
    randomize(model, rng)
    plain.set_weights([np.asarray(v) for v in model.weights if v.name not in NORM])
    for block, own in zip(plain.blocks, model.blocks, strict=True):
        for convolve, norm in zip(block, own[1::3], strict=True):
            scale = norm.gamma / np.sqrt(norm.moving_variance + 1e-5)
            convolve.kernel.assign(convolve.kernel * scale)
            convolve.bias.assign((convolve.bias - norm.moving_mean) * scale + norm.beta)
    batch, _ = acquire(rng, batch_size=1)
    assert relative_error(model(batch), plain(batch)) < 1e-5
    before = np.asarray(model.blocks[0][1].moving_mean)
    model.reconstruct(batch)
    assert np.any(np.asarray(model.blocks[0][1].moving_mean) != before)
    assert DIP.from_config(model.get_config()).batch_normalization


def test_a_training_normalises_batches(rng):
    """Keras tells a model that it trains, and the model its layers: else their statistics never change."""
    model = MoDL(1, ScaledResNet(2, 3, 1), num_steps=1)
    batch, image = acquire(rng)
    model.build()
    norm = model.networks[0].norms[0]
    predicted = model.predict(batch, verbose=0)
    np.testing.assert_array_equal(norm.moving_mean, 0)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(batch, np.abs(image), epochs=1, verbose=0)
    assert np.all(np.asarray(norm.moving_mean) != 0)
    assert relative_error(model.predict(batch, verbose=0), predicted) > 1e-4


@pytest.mark.parametrize("model", [CascadeNet, PDNet])
def test_the_slope_of_a_leaky_relu_is_an_argument(rng, model):
    leaky, relu = model(1, activation=0.5), model(1)
    batch, _ = acquire(rng)
    leaky.build()
    relu.build()
    relu.set_weights(leaky.get_weights())
    assert relative_error(leaky(batch), relu(batch)) > 1e-4
    assert model.from_config(leaky.get_config()).activation == 0.5
