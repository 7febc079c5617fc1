import numpy as np
import pytest
import tensorflow as tf
from helpers import random_complex, relative_error

from mri_zoo.data.fourier import ifft2c
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.coils import (
    calibration_region,
    estimate_sensitivity_maps,
    low_frequency_lines,
    normalize_maps,
    root_sum_of_squares,
)


def test_root_sum_of_squares_equals_fastmri(reference):
    with np.load(reference / "pytorch" / "numeric" / "fastmri_fft_complex.npz") as recorded:
        combined = root_sum_of_squares(recorded["cx"], axis=0)
        np.testing.assert_allclose(combined, recorded["rss_complex"], rtol=1e-6)


def test_root_sum_of_squares_is_differentiable_at_zero():
    images = tf.constant([[[[0j, 3.0]], [[0j, 4j]]]], tf.complex64)
    with tf.GradientTape() as tape:
        tape.watch(images)
        combined = root_sum_of_squares(images)
    np.testing.assert_allclose(combined, [[[0, 5]]], atol=1e-6)
    np.testing.assert_allclose(tape.gradient(combined, images), [[[[0, 0.6]], [[0, 0.8j]]]], atol=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_maps_have_unit_norm_where_there_is_signal(rng, unit):
    maps = random_complex(rng, (2, 3, 7, 5)) * np.float32(unit)
    maps[0, :, 2, 3] = 0
    normalized = np.asarray(normalize_maps(maps))
    norm = np.linalg.norm(normalized, axis=1)
    assert norm[0, 2, 3] == 0
    norm[0, 2, 3] = 1
    np.testing.assert_allclose(norm, 1, rtol=1e-6)
    np.testing.assert_allclose(normalized[1], maps[1] / np.linalg.norm(maps[1], axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    "case, fraction",
    [("s64x48_p8", 0.08), ("s80x61_p8", 0.08), ("s75x63_p8", 0.08), ("s81x60_p4", 0.04), ("s50x100_p4", 0.04)],
)
def test_estimated_maps_equal_the_recorded_ones(reference, case, fraction):
    """The recorded k-space is zero from four lines beyond the window on."""
    with np.load(reference / "tensorflow" / "numeric" / "smaps.npz") as recorded:
        kspace, expected = recorded[f"{case}__kspace"], recorded[f"{case}__smaps_every_8th_row"]
    estimate = estimate_sensitivity_maps(kspace, fraction)
    np.testing.assert_allclose(np.asarray(estimate)[:, :, ::8], expected, atol=1e-5)
    # The same window where the size is known at run time only.
    deferred = tf.function(
        lambda kspace: estimate_sensitivity_maps(kspace, fraction),
        input_signature=[tf.TensorSpec((None, None, None, None), tf.complex64)],
    )
    np.testing.assert_allclose(deferred(kspace), estimate, atol=1e-5)


@pytest.mark.parametrize("fraction", [0.2, 0.3])
@pytest.mark.parametrize("size", [(20, 30), (21, 37), (33, 20)])
def test_window_has_an_even_number_of_lines_around_the_centre(rng, size, fraction):
    kspace = random_complex(rng, (2, 3, *size))
    windowed = np.zeros_like(kspace)
    halves = [int(n * fraction) // 2 for n in size]
    rows, columns = (slice(n // 2 - half, n // 2 + half) for n, half in zip(size, halves, strict=True))
    windowed[..., rows, columns] = kspace[..., rows, columns]
    low = ifft2c(windowed)
    expected = low / np.linalg.norm(low, axis=1, keepdims=True)
    assert relative_error(estimate_sensitivity_maps(kspace, fraction), expected) < 1e-5


@pytest.mark.parametrize("size", [(20, 64), (64, 20)])
def test_empty_window_is_an_error(rng, size):
    with pytest.raises(ValueError, match="0.08 of 20 lines"):
        estimate_sensitivity_maps(random_complex(rng, (1, 2, *size)), 0.08)


@pytest.mark.parametrize("case", ["even", "odd"])
def test_even_number_of_lines_equals_fastmri(reference, case):
    with np.load(reference / "pytorch" / "fastmri_varnet" / "io.npz") as io:
        mask = io[f"{case}_mask"][..., 0].astype("float32")
        first, number = io[f"{case}_pad_nlow_none"], io[f"{case}_numlow_nlow_none"]
    position = np.arange(mask.shape[-1])
    expected = (position >= first[:, None]) & (position < (first + number)[:, None])
    found = calibration_region(mask, even=True)
    np.testing.assert_array_equal(found, expected[:, None, None])
    # Of a mask with rows, the lines that are sampled in all of them count.
    rows = np.concatenate([mask, np.ones_like(mask)], axis=-2)
    np.testing.assert_array_equal(calibration_region(rows, even=True), np.repeat(found, 2, axis=-2))


@pytest.mark.parametrize(
    "mask, even, expected",
    [
        ([1, 1, 0, 1, 0, 1], True, [0, 0, 0, 1, 0, 0]),  # no line left of the centre
        ([0, 0, 1, 1, 1, 1], True, [0, 0, 1, 1, 0, 0]),
        ([1, 1, 1, 1, 1, 1], True, [1, 1, 1, 1, 1, 1]),
        ([0, 1, 1, 1, 1], True, [0, 0, 1, 1, 0]),  # an even number around the middle of an odd width
        ([1, 1, 0, 1, 0, 1], False, [0, 0, 0, 1, 0, 0]),
        ([0, 0, 1, 1, 1, 1], False, [0, 0, 1, 1, 1, 0]),
        ([0, 1, 1, 1, 0, 1], False, [0, 0, 1, 1, 0, 0]),
        ([0, 1, 1, 1, 1], False, [0, 1, 1, 1, 1]),
        ([0, 0, 1, 1, 0], False, [0, 0, 1, 1, 0]),
        ([1, 1, 1, 1, 1, 1], False, [1, 1, 1, 1, 1, 1]),
        ([1, 1, 1, 1, 1], False, [1, 1, 1, 1, 1]),
        ([1, 1, 0, 0, 1, 1], False, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_calibration_region_of_lines(mask, even, expected):
    mask = np.float32(mask)[None, None, None]
    np.testing.assert_array_equal(np.ravel(calibration_region(mask, even)), expected)
    rows = calibration_region(np.repeat(mask, 7, axis=-2), even)
    np.testing.assert_array_equal(rows, np.tile(expected, (1, 1, 7, 1)))


@pytest.mark.parametrize("width", [46, 47])
@pytest.mark.parametrize("number", [1, 4, 5, 8])
def test_calibration_region_finds_any_number_of_lines(width, number):
    lines = np.asarray(low_frequency_lines(width, number))
    assert lines.sum() == number
    np.testing.assert_array_equal(calibration_region(lines[None, None, None])[0, 0, 0], lines)


@pytest.mark.parametrize("even", [False, True])
def test_calibration_region_of_other_masks_is_a_disc(rng, even):
    height, width = 21, 26
    squared = (np.arange(height)[:, None] - 10) ** 2 + (np.arange(width) - 13) ** 2
    disc = squared < 4**2 + 2**2  # with (4, 2) the first that is left out
    mask = np.float32(disc | (rng.random((height, width)) < 0.2))
    mask[10 + 4, 13 - 2] = 0
    box = np.zeros((height, width), "float32")
    box[10 - 3 : 10 + 3, 13 - 5 : 13 + 5] = 1
    lines = np.zeros((height, width), "float32")
    lines[:, 12:14] = 1
    masks = np.stack([mask, box, lines, np.ones_like(mask)])[:, None]  # a batch may mix them
    expected = np.stack([disc, squared < 3**2, lines, np.ones_like(mask)])[:, None]
    np.testing.assert_array_equal(calibration_region(masks, even), expected)
    deferred = tf.function(
        lambda mask: calibration_region(mask, even), input_signature=[tf.TensorSpec((None, 1, None, None))]
    )
    np.testing.assert_array_equal(deferred(masks), expected)
    np.testing.assert_array_equal(deferred(lines[None, None, :1]), lines[None, None, :1])


@pytest.mark.parametrize(
    "number, expected", [(3, [0, 1, 1, 1, 0]), (3, [0, 0, 1, 1, 1, 0]), (2, [0, 0, 1, 1, 0]), (2, [0, 0, 1, 1, 0, 0])]
)
def test_low_frequency_lines(number, expected):
    np.testing.assert_array_equal(low_frequency_lines(len(expected), number), expected)


def test_one_coil_needs_no_window_where_the_graph_alone_knows_that_it_is_one(rng):
    physics = Cartesian()
    spec = {"kspace": tf.TensorSpec([None] * 4, "complex64"), "mask": tf.TensorSpec([None] * 4)}
    completed = tf.function(lambda batch: physics.complete(batch)["sensitivity_maps"], input_signature=[spec])
    batch = {"kspace": random_complex(rng, (2, 1, 12, 12)), "mask": np.ones((2, 1, 1, 12), "float32")}
    np.testing.assert_array_equal(completed(batch), np.ones((2, 1, 12, 12)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="is an empty window"):
        completed({**batch, "kspace": random_complex(rng, (2, 3, 12, 12))})
