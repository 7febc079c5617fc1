import keras
import numpy as np
import pytest
from keras import ops

from mri_zoo import metrics


@pytest.fixture
def evaluate(reference):
    with np.load(reference / "pytorch/numeric/fastmri_evaluate.npz") as arrays:
        return dict(arrays)


def volumes(rng, shape=(4, 19, 14), noise=0.1):
    """A target whose slices differ in brightness, and a noisy image."""
    target = rng.random(shape, dtype="float32") * np.linspace(0.3, 1, shape[0], dtype="float32")[:, None, None]
    return target, np.abs(target + noise * rng.standard_normal(shape)).astype("float32")


def result_of(metric, *batches):
    for batch in batches:
        metric.update_state(*batch)
    return float(ops.convert_to_numpy(metric.result()))


@pytest.mark.parametrize("case", "abc")
@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 1e-6)])
def test_volume_metrics_equal_fastmri(evaluate, case, dtype, rtol):
    name = f"{case}_{dtype}"
    target, image, data_range = (evaluate[f"{kind}_{name}"] for kind in ("gt", "pred", "maxval"))
    np.testing.assert_allclose(metrics.nmse(target, image), evaluate[f"nmse_{name}"], rtol=rtol)
    np.testing.assert_allclose(metrics.psnr(target, image), evaluate[f"psnr_{name}"], rtol=rtol)
    np.testing.assert_allclose(metrics.ssim(target, image), evaluate[f"ssim_{name}"][0], rtol=rtol)
    np.testing.assert_allclose(metrics.psnr(target, image, data_range), evaluate[f"psnr_maxval_{name}"], rtol=rtol)
    np.testing.assert_allclose(metrics.ssim(target, image, data_range), evaluate[f"ssim_maxval_{name}"][0], rtol=rtol)


def test_metrics_equal_those_of_direct(reference):
    with np.load(reference / "pytorch/numeric/direct_losses_metrics.npz") as arrays:
        recorded = dict(arrays)
    target, image = recorded["target"][:, 0], recorded["pred"][:, 0]
    for name in ("nmse", "psnr", "ssim"):
        np.testing.assert_allclose(getattr(metrics, name)(target, image), recorded[f"fastmri_{name}"], rtol=1e-6)
    slices = list(zip(target[:, None], image[:, None], strict=True))
    # Those of Calgary-Campinas see each slice by itself, with the range of target and image together; the slice's unit,
    # which they change, does not matter.
    for name in ("psnr", "ssim"):
        values = [getattr(metrics, name)(*pair, data_range=np.ptp(pair)) for pair in slices]
        np.testing.assert_allclose(np.mean(values), recorded[f"calgary_campinas_{name}"], rtol=1e-6)
    # Another one takes the maximum of the image, not of the target.
    values = [metrics.psnr(*pair, data_range=np.max(pair[1])) for pair in slices]
    np.testing.assert_allclose(values, recorded["batch_psnr_none"], rtol=1e-6)


@pytest.mark.parametrize("case", "ab")
def test_the_range_of_the_target_gives_the_metrics_of_the_predecessor(reference, case):
    with np.load(reference / "tensorflow/numeric/metrics.npz") as arrays:
        target, image = arrays[f"{case}__gt"], arrays[f"{case}__pred"]
        data_range = np.ptp(target)
        np.testing.assert_allclose(metrics.nmse(target, image), arrays[f"{case}__nmse"], rtol=1e-6)
        np.testing.assert_allclose(metrics.psnr(target, image, data_range), arrays[f"{case}__psnr"], rtol=1e-6)
        np.testing.assert_allclose(metrics.ssim(target, image, data_range), arrays[f"{case}__ssim"], rtol=1e-6)
        for index, expected in enumerate(arrays[f"{case}__ssim_per_slice_volume_range"]):
            one = slice(index, index + 1)
            np.testing.assert_allclose(metrics.ssim(target[one], image[one], data_range), expected, rtol=1e-5)


def test_a_perfect_image(rng):
    target, _ = volumes(rng)
    assert metrics.nmse(target, target) == 0
    assert metrics.psnr(target, target) == np.inf
    np.testing.assert_allclose(metrics.ssim(target, target), 1, rtol=1e-12)


ONES = np.ones((2, 9, 8))


@pytest.mark.parametrize("metric", [metrics.nmse, metrics.psnr, metrics.ssim])
@pytest.mark.parametrize(
    "target, image, message",
    [
        (ONES, ONES[:1], r"\(2, 9, 8\).*\(1, 9, 8\)"),
        (ONES[0], ONES[0], r"\(slice, height, width\).*\(9, 8\)"),
        (ONES, np.where(np.arange(8) == 3, np.nan, ONES), "image has 18 values that are not finite"),
        (np.where(np.arange(8) == 3, np.inf, ONES), ONES, "target has 18 values that are not finite"),
        (0 * ONES, ONES, "no signal"),
        (ONES[:0], ONES[:0], r"\(0, 9, 8\) has no signal"),
        (ONES, ONES * 1j, "complex"),
    ],
)
def test_bad_volumes_are_refused(metric, target, image, message):
    with pytest.raises(ValueError, match=message):
        metric(target, image)


def test_bad_ranges_and_small_slices_are_refused():
    for metric in (metrics.psnr, metrics.ssim):
        with pytest.raises(ValueError, match="data_range.*0"):
            metric(ONES, ONES, data_range=0)
    with pytest.raises(ValueError, match="7 x 7 pixels, got 9 x 6"):
        metrics.ssim(ONES[..., :6], ONES[..., :6])


SLICES = [
    (metrics.SliceNMSE, metrics.nmse),
    (metrics.SlicePSNR, metrics.psnr),
    (metrics.SliceSSIM, metrics.ssim),
]
VOLUMES = [
    (metrics.VolumeNMSE, metrics.nmse),
    (metrics.VolumePSNR, metrics.psnr),
    (metrics.VolumeSSIM, metrics.ssim),
]


@pytest.mark.parametrize("metric, function", SLICES)
def test_slice_metrics_equal_the_functions_on_each_slice(rng, metric, function):
    target, image = volumes(rng)
    expected = np.mean([function(target[i : i + 1], image[i : i + 1]) for i in range(4)])
    actual = result_of(metric(), (target[:3], image[:3]), (target[3:], image[3:]))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("metric, function", VOLUMES)
def test_volume_metrics_equal_the_functions_with_a_volume_a_batch(rng, metric, function):
    first, second = volumes(rng), volumes(rng, (3, 11, 17), 0.3)
    expected = (function(*first) + function(*second)) / 2
    np.testing.assert_allclose(result_of(metric(), first, second), expected, rtol=1e-5)


@pytest.mark.parametrize("metric, function", SLICES + VOLUMES)
def test_targets_without_signal_are_left_out(rng, metric, function):
    target, image = volumes(rng)
    alone = result_of(metric(), (target, image))
    np.testing.assert_allclose(result_of(metric(), (target, image), (0 * target, image)), alone, rtol=1e-6)
    assert result_of(metric(), (0 * target, 0 * image)) == 0


@pytest.mark.parametrize("metric, function", SLICES)
def test_slice_metrics_weigh_slices(rng, metric, function):
    target, image = volumes(rng)
    target[1] = 0
    weights = np.array([1, 5, 0, 2], "float32")
    expected = (function(target[:1], image[:1]) + 2 * function(target[3:], image[3:])) / 3
    np.testing.assert_allclose(result_of(metric(), (target, image, weights)), expected, rtol=1e-5)


def test_streaming_psnr_of_a_perfect_image_is_infinite(rng):
    target, _ = volumes(rng)
    assert result_of(metrics.SlicePSNR(), (target, target)) == np.inf
    assert result_of(metrics.VolumePSNR(), (target, target)) == np.inf


@pytest.mark.parametrize("metric, function", SLICES + VOLUMES)
def test_config_round_trip(metric, function):
    original = metric(name="other")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(original))
    assert type(again) is metric and again.get_config() == original.get_config()
    assert again.name == "other"


def test_streaming_metrics_refuse_what_is_not_an_image():
    with pytest.raises(ValueError, match=r"\(batch, height, width\).*\(2, 9, 8\) and \(2, 9, 7\)"):
        metrics.SlicePSNR().update_state(ONES, ONES[..., :7])
    with pytest.raises(ValueError, match="at least 7 pixels"):
        metrics.SliceSSIM().update_state(ONES[..., :6], ONES[..., :6])


def test_validation_during_fit(rng):
    target, image = volumes(rng)
    darker = keras.layers.Dense(14, use_bias=False, kernel_initializer=keras.initializers.Identity(0.9))
    model = keras.Sequential([keras.Input((19, 14)), darker])
    model.compile(loss="mae", metrics=[metric() for metric, _ in SLICES + VOLUMES])
    logs = model.evaluate(image, target, batch_size=4, return_dict=True, verbose=0)
    for metric, function in VOLUMES:
        expected = function(target, 0.9 * image)
        np.testing.assert_allclose(logs[metric().name], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["slice_psnr"], result_of(metrics.SlicePSNR(), (target, 0.9 * image)), rtol=1e-5)


def test_callbacks_know_what_is_better():
    psnr, error = (keras.callbacks.EarlyStopping(f"val_slice_{name}") for name in ("psnr", "nmse"))
    model = keras.Sequential([keras.Input((9, 8)), keras.layers.Dense(8)])
    model.compile("sgd", "mae", metrics=[metrics.SlicePSNR(), metrics.SliceNMSE()], run_eagerly=True)
    model.fit(ONES, ONES, validation_data=(ONES, ONES), callbacks=[psnr, error], verbose=0)
    assert ops.convert_to_numpy(psnr.monitor_op(2.0, 1.0)) and ops.convert_to_numpy(error.monitor_op(1.0, 2.0))


@pytest.mark.parametrize("name", ["SliceNMSE", "SlicePSNR", "SliceSSIM", "VolumeNMSE", "VolumePSNR", "VolumeSSIM"])
def test_a_volume_counts_as_its_slices(rng, name):
    target, image = volumes(rng)
    expected = result_of(getattr(metrics, name)(), (target, image))
    assert result_of(getattr(metrics, name)(), (target[None], image[None])) == pytest.approx(expected, rel=1e-6)
