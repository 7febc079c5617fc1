import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import random_complex, relative_error
from keras import ops
from skimage.metrics import structural_similarity

from mri_zoo import losses

BACKEND = keras.backend.backend()
needs_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow")


@pytest.fixture
def compound(reference):
    with np.load(reference / "tensorflow/numeric/loss_compound_l1_mssim.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def direct(reference):
    # The recording's Sobel and signal-to-noise losses, roots of errors, sums over pixels, plain errors of k-space and
    # three-dimensional SSIM have no equivalent: none of DIRECT's configurations uses them, but one the last.
    with np.load(reference / "pytorch/numeric/direct_losses_metrics.npz") as arrays:
        return dict(arrays)


def value_and_gradient(function, image):
    """Value of a scalar function of a tensor, and its gradient, on the backend that runs."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        image = tf.constant(image)
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = function(image)
        gradient = tape.gradient(value, image)
    elif BACKEND == "jax":
        import jax

        value, gradient = jax.jit(jax.value_and_grad(function))(image)
    else:
        image = ops.convert_to_tensor(image).requires_grad_()
        value = function(image)
        value.backward()
        value, gradient = value.detach(), image.grad
    return ops.convert_to_numpy(value), ops.convert_to_numpy(gradient)


def images(rng, shape=(2, 23, 18), noise=0.1):
    target = rng.random(shape, dtype="float32")
    return target, (target + noise * rng.standard_normal(shape)).astype("float32")


def numpy_of(tensor):
    return ops.convert_to_numpy(tensor)


def test_compound_loss_equals_the_recording(compound):
    target, image = compound["y_true"][..., 0], compound["y_pred"][..., 0]
    value, gradient = value_and_gradient(lambda x: losses.L1MultiScaleSSIM(0.98, reduction="sum")(target, x), image)
    np.testing.assert_allclose(value, np.sum(compound["loss_alpha_0.98"]), rtol=3e-5)
    # TensorFlow's own gradient is 4e-5 from that in double precision.
    assert relative_error(gradient, compound["grad_alpha_0.98_of_summed_loss"][..., 0]) < 6e-5


def test_compound_loss_of_each_image_equals_the_recording(compound):
    target, image = compound["y_true"][..., 0], compound["y_pred"][..., 0]
    for alpha in (0.98, 0.9999):
        values = losses.L1MultiScaleSSIM(alpha, reduction=None)(target, image)
        np.testing.assert_allclose(numpy_of(values), compound[f"loss_alpha_{alpha}"], rtol=3e-5)
    values = losses.MultiScaleSSIM(reduction=None)(target, image)
    np.testing.assert_allclose(1 - numpy_of(values), compound["mssim"], rtol=1e-5)


def test_compound_loss_equals_the_recording_on_odd_sides(compound):
    target, image = compound["odd_y_true"][..., 0], compound["odd_y_pred"][..., 0]
    values = losses.L1MultiScaleSSIM(reduction=None)(target, image)
    np.testing.assert_allclose(numpy_of(values), compound["odd_loss_alpha_0.98"], rtol=3e-5)


@needs_tensorflow
@pytest.mark.parametrize(
    "shape, power_factors",
    [((2, 161, 173), losses.POWER_FACTORS), ((1, 41, 60), (0.2, 0.4, 0.4)), ((3, 11, 13), (1.0,))],
)
def test_multi_scale_ssim_equals_tensorflow(rng, shape, power_factors):
    import tensorflow as tf

    target, image = images(rng, shape)
    expected = tf.image.ssim_multiscale(target[..., None], image[..., None], 1.3, power_factors)
    actual = losses.multi_scale_ssim(tf.constant(target), tf.constant(image), 1.3, power_factors)
    np.testing.assert_allclose(actual, expected, rtol=2e-5)


@needs_tensorflow
@pytest.mark.parametrize("size, jit_compile", [((None, None, None), False), ((2, 25, 22), True)])
def test_losses_trace_with_and_without_known_sizes(rng, size, jit_compile):
    import tensorflow as tf

    def every_loss(target, image):
        kinds = losses.SSIM(), losses.MultiScaleSSIM((0.5, 0.5)), losses.HFEN(normalize=True)
        return [loss(target, image) for loss in kinds]

    target, image = images(rng, (2, 25, 22))
    traced = tf.function(every_loss, input_signature=[tf.TensorSpec(size)] * 2, jit_compile=jit_compile)
    np.testing.assert_allclose(traced(target, image), every_loss(target, image), rtol=1e-5)


@pytest.mark.parametrize("half", [0, 0x1000])
def test_multi_scale_ssim_survives_products_rounded_to_11_bits(rng, monkeypatch, half):
    """TF32, simulated: what GPUs do to the factors of a product, by truncation or by rounding."""

    def tf32(x):
        bits = np.asarray(numpy_of(x), "float32").view("uint32")
        return ((bits + np.uint32(half)) & np.uint32(0xFFFFE000)).view("float32")

    rows, columns = np.mgrid[:170, :190]
    target = (1 + np.sin(rows / 20) * np.cos(columns / 30)).astype("float32")
    image = (target + 0.01 * rng.standard_normal(target.shape)).astype("float32")
    target, image = ops.convert_to_tensor(target[None]), ops.convert_to_tensor(image[None])
    exact = numpy_of(losses.multi_scale_ssim(target, image, 2.0))
    matmul, products = ops.matmul, []
    monkeypatch.setattr(losses.ops, "matmul", lambda *x: products.append(matmul(*map(tf32, x))) or products[-1])
    rounded = numpy_of(losses.multi_scale_ssim(target, image, 2.0))
    assert products
    np.testing.assert_allclose(1 - rounded, 1 - exact, rtol=2e-3)


def test_multi_scale_ssim_of_opposite_contrast_is_zero_with_a_finite_gradient(rng):
    target = rng.random((1, 45, 42), dtype="float32")
    loss = losses.MultiScaleSSIM((0.2, 0.4, 0.4))
    value, gradient = value_and_gradient(lambda x: loss(target, x), 1 - target)
    assert value == 1
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    "loss", [losses.SSIM(), losses.MultiScaleSSIM((0.5, 0.5)), losses.L1MultiScaleSSIM(0.9, (1.0,)), losses.HFEN()]
)
@pytest.mark.parametrize("scale", [1e-6, 1e4, 0.0])
def test_a_perfect_image_costs_nothing_in_any_unit(rng, loss, scale):
    target = scale * rng.random((2, 25, 22), dtype="float32")
    value, gradient = value_and_gradient(lambda x: loss(target, x), target)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    assert np.all(np.isfinite(gradient))


def test_similarity_does_not_depend_on_the_unit(rng):
    target, image = images(rng)
    for loss in (losses.SSIM(), losses.MultiScaleSSIM((1.0,))):
        np.testing.assert_allclose(
            numpy_of(loss(1e-7 * target, 1e-7 * image)), numpy_of(loss(target, image)), rtol=1e-5
        )


def test_targets_without_signal_give_finite_losses(rng):
    image = rng.random((2, 25, 22), dtype="float32")
    target = np.zeros_like(image)
    for loss in (losses.SSIM(), losses.L1MultiScaleSSIM(0.9, (0.5, 0.5)), losses.HFEN(normalize=True)):
        value, gradient = value_and_gradient(lambda x, loss=loss: loss(target, x), image)
        assert np.isfinite(value) and np.all(np.isfinite(gradient))


@pytest.mark.parametrize("case", "abc")
def test_ssim_equals_the_loss_of_fastmri(reference, case):
    with np.load(reference / "pytorch/numeric/fastmri_ssimloss.npz") as arrays:
        arrays = dict(arrays)
    target, image, data_range = arrays[f"Y_{case}"][:, 0], arrays[f"X_{case}"][:, 0], arrays[f"data_range_{case}"]
    value, gradient = value_and_gradient(lambda x: 1 - ops.mean(losses.ssim(target, x, data_range)), image)
    np.testing.assert_allclose(value, arrays[f"loss_{case}"], rtol=1e-5)
    assert relative_error(gradient, arrays[f"gradX_{case}"][:, 0]) < 1e-5
    if case != "c":  # its images are smaller than this window
        value = 1 - np.mean(numpy_of(losses.ssim(target, image, data_range, window_size=11, k1=0.02, k2=0.05)))
        np.testing.assert_allclose(value, arrays[f"loss_win11_k1p02_k2p05_{case}"], rtol=1e-5)


def test_ssim_equals_the_loss_of_direct(direct):
    target, image = direct["target"][:, 0], direct["pred"][:, 0]
    np.testing.assert_allclose(np.max(target), direct["ssim_loss_data_range"], rtol=1e-6)
    value, gradient = value_and_gradient(lambda x: losses.SSIM("batch")(target, x), image)
    np.testing.assert_allclose(value, direct["ssim_loss"], rtol=1e-5)
    assert relative_error(gradient, direct["grad_ssim_loss"][:, 0]) < 1e-5


@pytest.mark.parametrize("data_range", ["slice", "batch", 3.0])
def test_ssim_equals_scikit_image(rng, data_range):
    target, image = images(rng)
    target[1] *= 0.3
    ranges = {"slice": np.max(target, axis=(1, 2)), "batch": [np.max(target)] * 2}.get(data_range, [data_range] * 2)
    expected = [structural_similarity(*x, data_range=r) for *x, r in zip(target, image, ranges, strict=True)]
    actual = losses.SSIM(data_range, reduction=None)(target, image)
    np.testing.assert_allclose(1 - numpy_of(actual), expected, rtol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_hfen_equals_the_recording(direct, norm, normalize):
    target, image = direct["target"][:, 0], direct["pred"][:, 0]
    name = f"hfen_{norm}_norm" if normalize else f"hfen_{norm}"
    value, gradient = value_and_gradient(lambda x: losses.HFEN(norm, normalize)(target, x), image)
    np.testing.assert_allclose(value, direct[f"{name}_default_k15_s2.5"], rtol=1e-5)
    assert relative_error(gradient, direct[f"grad_{name}_default_k15_s2.5"][:, 0]) < 1e-5
    value = losses.HFEN(norm, normalize, kernel_size=5, sigma=1.0)(target, image)
    np.testing.assert_allclose(numpy_of(value), direct[f"{name}_k5_s1.0"], rtol=1e-5)


@pytest.mark.parametrize("kernel_size, sigma", [(15, 2.5), (5, 1.0)])
def test_laplacian_of_gaussian_equals_the_recording(direct, kernel_size, sigma):
    kernel = losses.laplacian_of_gaussian(kernel_size, sigma)
    assert relative_error(kernel, direct[f"log_kernel_k{kernel_size}_s{sigma}"]) < 1e-6


def test_kspace_errors_equal_the_recording(direct):
    target, kspace = direct["kspace_target"], direct["kspace_pred"]
    np.testing.assert_allclose(numpy_of(losses.kspace_nmse(target, kspace)), direct["kspace_nmse"], rtol=1e-5)
    np.testing.assert_allclose(numpy_of(losses.kspace_nmae(target, kspace)), direct["kspace_nmae"], rtol=1e-5)


@pytest.mark.parametrize("name", ["nmse", "nmae"])
def test_kspace_errors_of_real_arrays_equal_the_recorded_ones_of_images(direct, name):
    loss, target = getattr(losses, f"kspace_{name}"), direct["target"].astype("complex64")
    value, gradient = value_and_gradient(lambda x: loss(target, ops.cast(x, "complex64")), direct["pred"])
    np.testing.assert_allclose(value, direct[name], rtol=1e-5)
    assert relative_error(gradient, direct[f"grad_{name}"]) < 1e-5


def test_kspace_errors_have_right_gradients(rng):
    target, kspace, direction = (random_complex(rng, (2, 3, 5, 4)) for _ in range(3))
    error = kspace - target

    def slope(loss):
        def along(step):
            return loss(target, ops.add(kspace, ops.multiply(ops.cast(step, "complex64"), direction)))

        return value_and_gradient(along, np.float32(0))[1]

    expected = 2 * np.vdot(error, direction).real / np.vdot(target, target).real
    np.testing.assert_allclose(slope(losses.kspace_nmse), expected, rtol=1e-4)
    signs = np.sign(error.real) * direction.real + np.sign(error.imag) * direction.imag
    expected = np.sum(signs) / np.sum(np.abs(target.real) + np.abs(target.imag))
    np.testing.assert_allclose(slope(losses.kspace_nmae), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        losses.SSIM("batch", 5, 0.02, 0.04, name="similarity", reduction="sum"),
        losses.SSIM(2.5),
        losses.MultiScaleSSIM((0.7,)),
        losses.L1MultiScaleSSIM(0.7, (1.0,), reduction=None),
        losses.HFEN("l1", True, 5, 1.2),
    ],
)
def test_config_round_trip(rng, loss):
    target, image = images(rng)
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    np.testing.assert_array_equal(numpy_of(again(target, image)), numpy_of(loss(target, image)))


def test_training_lowers_the_loss(rng):
    target, image = images(rng, (4, 15, 12))
    loss = losses.L1MultiScaleSSIM(0.9, (1.0,))
    model = keras.Sequential([keras.Input((15, 12)), keras.layers.EinsumDense("bij,jk->bik", (15, 12))])
    model.compile(keras.optimizers.Adam(0.03), loss, run_eagerly=True)
    before = numpy_of(loss(target, model(image)))
    history = model.fit(image, target, epochs=8, verbose=0).history["loss"]
    np.testing.assert_allclose(history[0], before, rtol=1e-4)
    assert history[-1] < 0.9 * before


def test_sample_weights_weigh_images(rng):
    target, image = images(rng, (2, 25, 22))
    for loss in (losses.SSIM(), losses.MultiScaleSSIM((0.5, 0.5)), losses.HFEN(normalize=True)):
        each = numpy_of(type(loss).from_config({**loss.get_config(), "reduction": None})(target, image))
        weighted = loss(target, image, sample_weight=np.array([1.0, 3.0], "float32"))
        np.testing.assert_allclose(numpy_of(weighted), (each[0] + 3 * each[1]) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: losses.SSIM("volume"), "data_range.*'volume'"),
        (lambda: losses.SSIM(0.0), "data_range.*0.0"),
        (lambda: losses.SSIM(window_size=1), "window_size.*1"),
        (lambda: losses.MultiScaleSSIM(()), "power_factors"),
        (lambda: losses.L1MultiScaleSSIM(power_factors=(0.5, -0.5)), "power_factors.*-0.5"),
        (lambda: losses.L1MultiScaleSSIM(1.5), "alpha.*1.5"),
        (lambda: losses.HFEN("l3"), "norm.*'l3'"),
        (lambda: losses.HFEN(kernel_size=4), "kernel_size.*4"),
        (lambda: losses.HFEN(sigma=0), "sigma.*0"),
        (lambda: losses.HFEN(kernel_size=31, sigma=2.5), "31 and 2.5"),
        (lambda: losses.DualDomainLoss([], []), r"got the weights \[\]"),
        (lambda: losses.DualDomainLoss([(1, "mae")]), r"`image` must be pairs of a weight and a Keras loss.*'mae'"),
        (lambda: losses.DualDomainLoss([losses.SSIM()]), "`image` must be pairs of .* got <.*SSIM"),
        (lambda: losses.DualDomainLoss((1, losses.SSIM())), "`image` must be pairs of .* got 1"),
        (
            lambda: losses.DualDomainLoss(kspace=[(1, "nmse")]),
            "`kspace` must be pairs of a weight and a function.*nmse",
        ),
        (lambda: losses.DualDomainLoss([(1, losses.SSIM()), (-1, losses.SSIM())], []), r"weights >= 0.*\[1, -1\]"),
        (lambda: losses.DualDomainLoss([(1, losses.SSIM()), (math.nan, losses.SSIM())], []), r"weights >= 0.*\[1, nan"),
        (lambda: losses.DualDomainLoss([(math.inf, losses.SSIM())], []), r"weights >= 0.*\[inf\]"),
        (lambda: losses.DualDomainLoss([(math.nan, losses.SSIM()), (1, losses.SSIM())]), r"weights >= 0.*\[nan, 1"),
        (lambda: losses.DualDomainLoss([("1", losses.SSIM())]), r"weights >= 0.*\['1'"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "loss, shapes, message",
    [
        (losses.SSIM(), [(2, 6, 9)] * 2, r"at least 7 pixels.*\(6, 9\)"),
        (losses.MultiScaleSSIM(), [(1, 160, 200)] * 2, r"at least 161 .*5 scales.*power_factors.*\(160, 200\)"),
        (losses.L1MultiScaleSSIM(0.9, (0.5, 0.5)), [(1, 25, 20)] * 2, r"at least 21 .*2 scales.*\(25, 20\)"),
        (losses.HFEN(), [(2, 9, 8), (2, 8, 8)], r"\(2, 9, 8\) and \(2, 8, 8\)"),
        (losses.SSIM(), [(2, 9, 8, 1)] * 2, r"\(batch, height, width\).*\(2, 9, 8, 1\)"),
    ],
)
def test_bad_images_are_refused(loss, shapes, message):
    with pytest.raises(ValueError, match=message):
        loss(*(np.ones(shape, "float32") for shape in shapes))


def test_complex_images_are_refused(rng):
    image = ops.convert_to_tensor(random_complex(rng, (1, 9, 8)))
    with pytest.raises(ValueError, match="complex"):
        losses.ssim(image, image)


SOME = (
    "opposite_contrast or loss_of_direct or hfen_equals and l1-True or kspace_errors_equal "
    "or volume_a_batch or addons and warmup_weight_decay and not double or bit_equally"
)


@needs_tensorflow
@pytest.mark.parametrize("tests", [SOME, pytest.param("test", marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_losses_metrics_and_optimizers_hold_on_other_backends_without_tensorflow(backend, tests):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    here = Path(__file__).parent
    files = [str(here / f"test_{name}.py") for name in ("losses", "metrics", "optimizers")]
    run = "import sys; sys.modules['tensorflow'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", run, "-q", "-x", "-p", "no:cacheprovider", "-k", tests, *files],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        cwd=here.parent,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]


def test_the_compound_loss_of_a_volume_is_that_of_its_slices(rng):
    target = rng.random((3, 23, 25), dtype="float32")
    image = target + rng.normal(0, 0.1, target.shape).astype("float32")
    loss = losses.L1MultiScaleSSIM(power_factors=(0.5, 0.5))
    np.testing.assert_allclose(loss(target[None], image[None]), loss(target, image), rtol=1e-6)


def test_the_dual_domain_loss_of_a_volume_is_that_of_its_slices(rng):
    target, image = images(rng, (6, 15, 13))
    loss = losses.DualDomainLoss()
    expected = sum(weight * numpy_of(part(target, image)) for weight, part in loss.image)
    np.testing.assert_allclose(numpy_of(loss(target, image)), expected, rtol=1e-6)
    volumes = (array.reshape(2, 3, 15, 13) for array in (target, image))
    np.testing.assert_allclose(numpy_of(loss(*volumes)), expected, rtol=1e-6)
