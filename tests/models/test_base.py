"""What every model must do, and the base class on its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import acquire
from keras import ops
from zoo import LEARNED, MODELS, acquire_for, create, deviation

import mri_zoo.models
from mri_zoo.data import HeldOutBrain, PercentileScaling, RandomMask, slices_of
from mri_zoo.data.fourier import center_crop as center_crop_reference
from mri_zoo.models import ReconstructionModel, ZeroFilled
from mri_zoo.models.base import center_crop, magnitude_like
from mri_zoo.physics.cartesian import Cartesian

# The first of each class, where a test takes long.
TRAINED = list({model: name for name, (model, _) in reversed(LEARNED.items())}.values())
# Variants of a class differ in what they compute, hardly in what Keras makes of them.
MODELS_AND_SLOW_VARIANTS = [
    pytest.param(name, marks=[pytest.mark.slow] * (name in LEARNED and name not in TRAINED)) for name in MODELS
]
# Every model trains, most of them in the slow suite.
MOSTLY_SLOW = [
    pytest.param(name, marks=[pytest.mark.slow] * (name in LEARNED and name not in ("unet", "pdnet", "varnet")))
    for name in MODELS
]
LEARNED_MOSTLY_SLOW = [model for model in MOSTLY_SLOW if model.values[0] in LEARNED]
# One network of the image and one of the coils, as XLA compiles for a quarter of a minute.
TRAINED_MOSTLY_SLOW = [
    pytest.param(name, coils, marks=[pytest.mark.slow] * ((name, coils) not in (("unet", 1), ("pdnet", 4))))
    for name in LEARNED
    for coils in (1, 4)
]
BASE_CLASS = ["unet", "pdnet", "zero_filled"]  # where the base class alone is tested


@pytest.fixture(autouse=True)
def same_weights_each_time():
    keras.utils.set_random_seed(0)


@pytest.fixture
def policy():
    """Restores the global precision."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def traces(model):
    """A list that grows by one each time the model's Python code runs."""
    calls, call = [], model.call

    def counted(batch):
        calls.append(batch["kspace"].shape)
        return call(batch)

    model.call = counted
    return calls


def test_every_model_is_here():
    found = {type(create(name)).__name__ for name in MODELS}
    assert found == set(mri_zoo.models.__all__) - {"DIP", "ReconstructionModel"}


@pytest.mark.parametrize("name", MOSTLY_SLOW)
def test_predict_returns_the_complex_image(rng, name):
    model = create(name)
    batch, expected = acquire_for(name, rng, coils=3, maps=True)
    image = model.predict(batch, verbose=0)
    assert image.dtype == np.complex64
    assert image.shape == (*expected.shape[:-2], *MODELS[name][1].get("crop", (15, 13)))
    assert deviation(name, image, model(batch)) < 1e-5
    # Slices of a batch do not see each other.
    assert deviation(name, model({key: value[1:] for key, value in batch.items()})[0], image[1]) < 1e-5


@pytest.mark.parametrize("name", LEARNED_MOSTLY_SLOW)
def test_sizes_and_coil_counts_vary_without_retracing(rng, name):
    model = create(name)
    model.build()
    calls = traces(model)
    for size, coils in [((15, 13), 1), ((17, 20), 2), ((64, 48), 4), ((16, 33), 1), ((15, 13), 3)]:
        batch, _ = acquire_for(name, rng, size, coils=coils)
        found, before = model.predict(batch, verbose=0), len(calls)
        assert deviation(name, found, model(batch)) < 1e-5
        del calls[before:]
    batch, _ = acquire_for(name, rng, (320, 368), coils=16, batch_size=1)
    assert np.all(np.isfinite(model.predict(batch, verbose=0)))
    # One for fixed sizes, then sizes and coils become unknown, perhaps not at once.
    assert len(calls) <= 3


class NotCentred(Cartesian):
    """Plain transforms, with the zero frequency of k-space where it was: what DIRECT has for Calgary-Campinas."""

    def __init__(self):
        super().__init__()
        self._fft = lambda x: tf.signal.fft2d(x) / np.sqrt(np.prod(x.shape[-2:]))
        self._ifft = lambda x: tf.signal.ifft2d(x) * np.sqrt(np.prod(x.shape[-2:]))

    def coil_normal(self, coil_images, batch):
        return self.coil_adjoint(self.coil_forward(coil_images, batch), batch)


@pytest.mark.parametrize("name", LEARNED_MOSTLY_SLOW)
def test_alternating_signs_equal_transforms_that_are_not_centred(rng, name):
    row, column = np.ogrid[:14, :12]  # for which the two signs differ
    signs = (1 - 2 * ((row + column) % 2)).astype("complex64")
    batch, _ = acquire_for(name, rng, (14, 12), coils=3, maps=True)
    plain = {**batch, "kspace": signs * batch["kspace"], "sensitivity_maps": -signs * batch["sensitivity_maps"]}
    if name == "refined_maps":  # from the centre of k-space
        del batch["sensitivity_maps"], plain["sensitivity_maps"]
    model, reference = [create(name, physics=physics) for physics in (Cartesian(alternating_signs=True), NotCentred())]
    expected, _ = reference(plain), model(batch)
    model.set_weights(reference.get_weights())
    assert deviation(name, model(batch), expected) < 1e-5
    if name in ("kiki_net", "direct_kikinet", "lpdnet", "recurrent_varnet", "refined_maps", "xpdnet", "varnet"):
        model.physics.alternating_signs = False
        assert deviation(name, model(batch), expected) > 1e-3


@pytest.mark.parametrize("name", BASE_CLASS)
def test_evaluate_judges_the_cropped_magnitude(rng, name):
    model = create(name)
    batch, image = acquire(rng)
    target = np.abs(image)[:, 3:13, 2:11]
    model.compile(loss="mae", metrics=["mse"])
    loss, squared = model.evaluate(batch, target, verbose=0)
    difference = center_crop_reference(np.abs(model(batch)), target.shape[-2:]) - target
    assert loss == pytest.approx(np.mean(np.abs(difference)), rel=1e-5)
    assert squared == pytest.approx(np.mean(difference**2), rel=1e-5)


@pytest.mark.parametrize("name", [model for model in MODELS_AND_SLOW_VARIANTS if model.values[0] in LEARNED])
def test_every_weight_has_a_finite_gradient(rng, name, caplog):
    model = create(name)
    batch, image = acquire_for(name, rng, coils=2, maps=True)
    target = np.abs(image)[..., 1:, 1:12]
    with tf.GradientTape() as tape:
        loss = ops.mean(ops.abs(magnitude_like(target, model(batch)) - target))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(gradients) > 0
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.all(np.isfinite(gradient)) and np.any(gradient), weight.path
    # TensorFlow's warning of the gradient of a real weight that was cast to multiply a complex image: see `scale`.
    assert "discard the imaginary part" not in caplog.text


def demo_slices(name, coils):
    """Two undersampled slices of the held-out brain and their target; they are frames for a model that takes them."""
    size = MODELS[name][1].get("crop", (47, 63))
    options = {"scaling": PercentileScaling(), "inner_slices": 2, "training": False, "crop": size}
    dataset = slices_of([HeldOutBrain(coils)], RandomMask(4), **options)
    batch, target = next(dataset.batch(2).as_numpy_iterator())
    if name == "vsharp_3d":
        batch, target = {key: np.moveaxis(array, 0, 1)[None] for key, array in batch.items()}, target[None]
    return batch, target


@pytest.mark.xla
@pytest.mark.parametrize("name, coils", TRAINED_MOSTLY_SLOW)
def test_fit_lowers_the_loss_and_saves_all_that_training_needs(name, coils, tmp_path):
    model = create(name)
    batch, target = demo_slices(name, coils)
    model.compile(keras.optimizers.Adam(0.01), loss="mae", metrics=["mse"])
    losses = model.fit(batch, target, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.995 * losses[0]  # it falls least where a U-net corrects the adjoint

    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.optimizer.get_config() == model.optimizer.get_config()
    assert len(copy.optimizer.variables) == len(model.optimizer.variables) > 2 * len(model.trainable_weights)
    for found, expected in zip(copy.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(copy(batch), model(batch))

    model.save_weights(tmp_path / "model.weights.h5")  # the optimizer and the metrics are in this file too
    copy = create(name)
    copy.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(copy(batch), model(batch))


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", MODELS_AND_SLOW_VARIANTS)
def test_saved_model_gives_equal_outputs(rng, name, tmp_path):
    model = create(name)
    batch, _ = acquire_for(name, rng, coils=2)
    expected = model(batch)
    assert keras.backend.standardize_dtype(expected.dtype) == "complex64"
    assert expected.shape[-2:] == MODELS[name][1].get("crop", (15, 13))
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert type(copy) is type(model)
    assert copy.get_config() == model.get_config()
    assert copy.physics.center_fraction == 0.4
    np.testing.assert_array_equal(copy(batch), expected)


@pytest.mark.parametrize("options", [{}, {"primal_only": True}])
@pytest.mark.parametrize("in_file, in_model", [(3, 2), (2, 3)])
def test_weights_of_another_number_of_cascades_are_an_error(tmp_path, in_file, in_model, options):
    source = create("pdnet", **{**options, "num_iterations": in_file})
    source.build()
    source.save_weights(tmp_path / "other.weights.h5")
    model = create("pdnet", **{**options, "num_iterations": in_model})
    model.build()
    before = model.get_weights()
    per_cascade = 6 if options else 12
    message = f"other.weights.h5 holds {in_file * per_cascade} weight arrays, this PDNet has {in_model * per_cascade}"
    with pytest.raises(ValueError, match=message):
        model.load_weights(tmp_path / "other.weights.h5")
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", LEARNED_MOSTLY_SLOW)
def test_mixed_precision_keeps_complex_numbers_whole(rng, name, policy, tmp_path):
    batch, image = acquire_for(name, rng, coils=2, maps=True)
    exact = create(name)
    expected = exact(batch)
    policy("mixed_bfloat16")
    from_global = create(name)
    policy("float32")
    model = create(name, dtype="mixed_bfloat16")
    for mixed in (from_global, model):
        mixed.build()
        mixed.set_weights(exact.get_weights())
        found = np.asarray(mixed(batch))
        assert found.dtype == np.complex64
        assert {weight.dtype for weight in mixed.weights} == {"float32"}
        assert 0 < deviation(name, found, expected) < 0.1

    if name != "vsharp_3d":  # TensorFlow's gradients of 3-D convolutions in bfloat16 are wrong on CPUs
        model.compile(keras.optimizers.Adam(0.01), loss="mae", run_eagerly=True)
        losses = model.fit(batch, np.abs(image)[..., 1:, 1:12], epochs=4, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.dtype_policy.name == "mixed_bfloat16"
    np.testing.assert_array_equal(copy(batch), model(batch))


def test_mixed_precision_leaves_the_acquisition_alone(rng):
    batch, _ = acquire(rng, coils=2, maps=True)
    expected = ZeroFilled()(batch)
    np.testing.assert_array_equal(ZeroFilled(dtype="mixed_bfloat16")(batch), expected)


@pytest.mark.parametrize("name", BASE_CLASS)
def test_target_larger_than_the_image_is_an_error(rng, name):
    model = create(name)
    batch, _ = acquire(rng)
    model.compile("adam", loss="mae")
    with pytest.raises(ValueError, match=r"Cannot crop an image of \(1[45], 1[13]\) pixels to \(16, 13\)"):
        model.evaluate(batch, np.zeros((2, 16, 13), "float32"), verbose=0)


@pytest.mark.parametrize("size", [(16, 13), (15, 14), (17, 15)])
def test_a_target_that_is_larger_by_a_pixel_is_an_error_where_sizes_are_open(rng, size):
    batch, _ = acquire(rng)
    pair = (batch, np.ones((2, *size), "float32"))
    spec = tf.nest.map_structure(lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), pair)
    model = create("zero_filled")
    model.compile(loss="mae")
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.evaluate(tf.data.Dataset.from_generator(lambda: iter([pair]), output_signature=spec), verbose=0)


@pytest.mark.parametrize("size", [(7, 6), (6, 6), (7, 5), (3, 1)])
def test_center_crop_is_that_of_the_data(rng, size):
    image = rng.standard_normal((2, 7, 6), dtype="float32")
    np.testing.assert_array_equal(center_crop(image, size), center_crop_reference(image, size))
    target = np.zeros((2, *size))
    np.testing.assert_array_equal(magnitude_like(target, 1j * image), center_crop_reference(np.abs(image), size))


def test_steps_end_with_the_image(rng):
    model, (batch, _) = create("unet"), acquire(rng)
    (image,) = model.steps(batch)
    np.testing.assert_array_equal(image, model(batch))


@pytest.mark.parametrize("name", BASE_CLASS)
def test_a_physics_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match=r"`physics` must be an acquisition such as `Cartesian\(\)`, got 'x'"):
        create(name, physics="x")


def test_base_class_shows_keras_the_magnitude():
    class Constant(ReconstructionModel):
        def call(self, batch):
            return 0 * batch["kspace"][:, 0] + 3 + 4j

    model = Constant()
    model.compile(loss="mae")
    batch = {"kspace": np.ones((2, 1, 5, 4), "complex64"), "mask": np.ones((2, 1, 1, 4), "float32")}
    assert model.evaluate(batch, np.zeros((2, 5, 4), "float32"), verbose=0) == pytest.approx(5)
