"""Batches on a grid that cannot be right are refused; maps of one's own show networks the phase that they know."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import acquire, acquire_noncartesian, random_complex, relative_error

from mri_zoo.models import UNet, ZeroFilled
from mri_zoo.physics.acquisition import PHASES
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.coils import estimate_sensitivity_maps, root_sum_of_squares
from mri_zoo.physics.gridded import Gridded
from mri_zoo.physics.noncartesian import NonCartesian


def inverted(batch):
    return {**batch, "mask": 1 - batch["mask"]}


BAD = {
    "mask without a coil axis": (lambda b: {**b, "mask": b["mask"][:, 0]}, r"`mask` .*got \(2, 1, 13\)"),
    "mask (batch, height, width)": (
        lambda b: {**b, "mask": np.broadcast_to(b["mask"][:, 0], (2, 15, 13))},
        r"`mask` must have the shape \(batch or 1, 1, 1 or height, width\), got \(2, 15, 13\)",
    ),
    "mask (batch, width)": (lambda b: {**b, "mask": b["mask"][:, 0, 0]}, r"`mask` .*got \(2, 13\)"),
    "mask of every coil": (lambda b: {**b, "mask": np.repeat(b["mask"], 3, axis=1)}, r"`mask` .*got \(2, 3, 1, 13\)"),
    "mask of other slices": (lambda b: {**b, "mask": np.repeat(b["mask"], 2, axis=0)}, r"`mask` .*got \(4, 1, 1, 13\)"),
    "mask along the height": (lambda b: {**b, "mask": np.ones((2, 1, 15, 1), "float32")}, r"`mask` .*\(2, 1, 15, 1\)"),
    "mask of bytes": (lambda b: {**b, "mask": (255 * b["mask"]).astype("uint8")}, "`mask` must be 1 .*up to 255"),
    "mask of weights": (lambda b: {**b, "mask": 0.5 * b["mask"]}, "`mask` must be 1 .*up to 0.5"),
    "mask of NaN": (lambda b: {**b, "mask": b["mask"] + np.nan}, "`mask` holds NaN"),
    "empty mask": (lambda b: {**b, "mask": b["mask"] * [[[[0]]], [[[1]]]]}, "`mask` samples nothing"),
    "inverted mask": (inverted, "leaves out the centre .* 100 % .* inverted"),
    "inverted mask of full k-space": (
        lambda b: inverted({**b, "kspace": b["kspace"] + 100 * (b["mask"] + 0.01).astype("complex64")}),
        "leaves out the centre .* inverted",
    ),
    "k-space without a coil axis": (
        lambda b: {"kspace": b["kspace"][:, 0], "mask": b["mask"]},
        r"`kspace` must have the shape \(batch, coil, height, width\), got \(2, 15, 13\)",
    ),
    "k-space of NaN": (lambda b: {**b, "kspace": b["kspace"] * np.complex64(np.nan)}, "`kspace` holds NaN"),
    "k-space in double precision": (lambda b: {**b, "kspace": b["kspace"].astype("complex128")}, "must be complex64"),
    "maps of another size": (
        lambda b: {**b, "sensitivity_maps": b["sensitivity_maps"][..., 1:]},
        r"`sensitivity_maps` .*got \(2, 3, 15, 12\)",
    ),
    "maps of another coil": (
        lambda b: {**b, "sensitivity_maps": b["sensitivity_maps"][:, 1:]},
        r"`sensitivity_maps` .*got \(2, 2, 15, 13\)",
    ),
    "maps that brighten": (
        lambda b: {**b, "sensitivity_maps": 2 * b["sensitivity_maps"]},
        "root-sum-of-squares of 1 .* up to 2",
    ),
    "maps of zeros": (lambda b: {**b, "sensitivity_maps": 0 * b["sensitivity_maps"]}, "root-sum-of-squares of 1 .* 0"),
    "maps with one bright pixel": (
        lambda b: {**b, "sensitivity_maps": b["sensitivity_maps"] * np.where(np.arange(13) == 6, 1, 0.3).astype("f4")},
        "root-sum-of-squares of 1 .*got 0.3 in half of the pixels and up to 1",
    ),
}


@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD)
def test_bad_batches_are_refused(rng, change, message):
    batch, _ = acquire(rng, coils=3, maps=True)
    model = ZeroFilled()
    model.predict_on_batch(batch)  # of the right shapes, so that a graph is there
    for use in (model, model.predict_on_batch, lambda x: model.predict(x, verbose=0)):
        with pytest.raises(ValueError, match=message):
            use(change({key: value.copy() for key, value in batch.items()}))


def test_a_missing_mask_is_named(rng):
    batch, _ = acquire(rng)
    del batch["mask"]
    with pytest.raises(KeyError, match="has no `mask`"):
        ZeroFilled().predict(batch, verbose=0)


def test_masks_of_any_real_type_and_samples_outside_of_them_are_accepted(rng):
    batch, _ = acquire(rng)
    model = ZeroFilled()
    expected = model.predict_on_batch(batch)
    for dtype in (bool, "uint8", "float64"):
        np.testing.assert_array_equal(model({**batch, "mask": batch["mask"].astype(dtype)}), expected)
    other = {**batch, "kspace": batch["kspace"] + ((1 - batch["mask"]) * 9).astype("complex64")}
    np.testing.assert_array_equal(model(other), expected)


def test_tensors_are_checked_like_arrays(rng):
    batch, _ = acquire(rng)
    model = ZeroFilled()
    for change in ({"mask": (255 * batch["mask"]).astype("uint8")}, {"kspace": batch["kspace"] * np.complex64(np.nan)}):
        tensors = {key: tf.constant(value) for key, value in (batch | change).items()}
        for use in (model, lambda x: model.predict(x, verbose=0)):
            with pytest.raises(ValueError, match="up to 255|holds NaN"):
                use(tensors)
    shared = {"kspace": tf.constant(batch["kspace"]), "mask": tf.constant(batch["mask"][:1])}
    assert model.predict(shared, verbose=0).shape == (2, 15, 13)


def test_empty_slices_and_maps_that_fade_out_are_accepted(rng):
    batch, _ = acquire(rng, coils=3, maps=True)
    batch["kspace"][0] = 0
    batch["mask"][..., 6] = 0
    batch["sensitivity_maps"] = batch["sensitivity_maps"] * np.where(np.arange(13) < 3, 0.5, 0.98).astype("float32")
    batch["sensitivity_maps"][0] = 0
    batch["mask"][1] = 1
    ZeroFilled().predict(batch, verbose=0)


def test_a_network_that_knows_a_phase_needs_the_centre(rng):
    batch, _ = acquire(rng, (24, 20), coils=3, maps=True)
    batch["mask"][..., 9:11] = 0
    batch["kspace"] *= batch["mask"]
    with pytest.raises(ValueError, match="no sample in the centre"):
        ZeroFilled(Cartesian(center_fraction=0.1, phase="calibrated"))(batch)


def test_validation_data_may_share_a_mask(rng):
    batch, image = acquire(rng, (16, 12), batch_size=3)
    batch["mask"] = np.ones((1, 1, 1, 12), "float32")
    model = UNet(num_filters=(2, 4), num_convolutions=1)
    model.compile("adam", "mae")
    target = np.abs(image)
    history = model.fit(batch, target, validation_data=(batch, target), batch_size=1, verbose=0).history
    assert history["val_loss"] == pytest.approx([model.evaluate(batch, target, verbose=0)], rel=1e-4)


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="`image_data_format` is 'channels_first'"):
            ZeroFilled()
    finally:
        keras.config.set_image_data_format("channels_last")


def test_an_empty_window_of_calibration_is_told_for_every_size(rng):
    model = ZeroFilled(Cartesian(center_fraction=0.1))
    large, small = (acquire(rng, size, coils=2)[0] for size in ((24, 20), (24, 15)))
    model.predict(large, verbose=0)
    with pytest.raises(ValueError, match="0.1 of 15 lines is an empty window"):
        model(small)
    slices = tf.data.Dataset.from_generator(
        lambda: iter([{key: value[0] for key, value in batch.items()} for batch in (large, small)]),
        output_signature={
            "kspace": tf.TensorSpec((2, None, None), "complex64"),
            "mask": tf.TensorSpec((1, 1, None), "float32"),
        },
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="is an empty window"):
        model.predict(slices.batch(1), verbose=0)


@pytest.fixture
def scan(rng):
    """Coil images of a smooth phase, of which maps are estimated, and the same maps with the phase of another tool."""
    y, x = np.mgrid[-1:1:24j, -1:1:20j]
    image = (1 + np.exp(-4 * (x**2 + y**2))) * np.exp(2j * x + 1j * y**2)
    coils = np.stack([np.exp(-((x - a) ** 2) + 1j * a * y) for a in (-1, 0, 1)])
    batch, _ = acquire(rng, (24, 20), batch_size=1, image=image[None])
    full = Cartesian().kspace_of_coils((coils * image)[None].astype("complex64"))
    batch["kspace"] = (np.asarray(full) * batch["mask"]).astype("complex64")
    maps = np.asarray(estimate_sensitivity_maps(batch["kspace"], 0.2))
    return batch, maps, (maps * np.exp(1j * rng.uniform(-3, 3, (24, 20)))).astype("complex64")


@pytest.mark.parametrize("physics", [Cartesian, Gridded])
def test_maps_of_any_phase_show_the_image_that_estimated_ones_show(scan, physics):
    batch, maps, others = scan
    physics = physics(center_fraction=0.2, phase="calibrated")
    expected = physics.adjoint(batch["kspace"], physics.complete(batch))
    for given in (maps, others, maps * np.exp(1j)):
        completed = physics.complete({**batch, "sensitivity_maps": given.astype("complex64")})
        assert relative_error(physics.adjoint(batch["kspace"], completed), expected) < 1e-5
        again = physics.complete(completed)["sensitivity_maps"]
        np.testing.assert_array_equal(again, completed["sensitivity_maps"])
    kept = Cartesian(center_fraction=0.2).complete({**batch, "sensitivity_maps": others})
    np.testing.assert_array_equal(kept["sensitivity_maps"], others)


def test_maps_of_any_phase_along_a_trajectory(rng):
    batch, _ = acquire_noncartesian(rng, coils=3)
    physics = NonCartesian((15, 13), center_fraction=0.4, phase="calibrated")
    maps = np.asarray(physics.complete(batch)["sensitivity_maps"])
    others = (maps * np.exp(1j * rng.uniform(-3, 3, (15, 13)))).astype("complex64")
    for found in (
        physics.complete({**batch, "sensitivity_maps": others}),
        physics.complete_uncompensated({**batch, "sensitivity_maps": others}),
    ):
        assert relative_error(found["sensitivity_maps"], maps) < 1e-4


@pytest.mark.parametrize("open_shape", [False, True])
def test_the_phase_of_one_coil_is_taken_off_where_a_network_knows_none(scan, open_shape):
    batch, _, _ = scan
    batch = {**batch, "kspace": batch["kspace"][:, 1:2]}
    physics = {phase: Cartesian(center_fraction=0.2, phase=phase) for phase in PHASES}

    def complete(phase):
        def run(kspace, mask):
            return physics[phase].adjoint(kspace, physics[phase].complete({"kspace": kspace, "mask": mask}))

        if open_shape:
            signature = [tf.TensorSpec((None,) * 4, "complex64"), tf.TensorSpec((None, 1, None, None), "float32")]
            run = tf.function(run, input_signature=signature)
        return np.asarray(run(batch["kspace"], batch["mask"]))

    plain, removed = complete("given"), complete("calibrated")
    np.testing.assert_allclose(np.abs(removed), np.abs(plain), atol=1e-5)
    assert np.abs(removed.imag).mean() < 0.2 * np.abs(plain.imag).mean() and removed.real.min() > -0.1


def test_the_image_of_a_magnitude_stays_and_a_negative_one_is_turned(rng):
    image = np.abs(random_complex(rng, (2, 24, 20)))
    image[1, :, 3:] = 0  # little tissue, and at one side
    batch, _ = acquire(rng, (24, 20), image=image)
    removing, plain = (Cartesian(center_fraction=0.2, phase=phase) for phase in ("calibrated", "given"))
    expected = plain.adjoint(batch["kspace"], plain.complete(batch))
    for sign in (1, -1):
        turned = {**batch, "kspace": sign * batch["kspace"]}
        found = removing.adjoint(turned["kspace"], removing.complete(turned))
        if sign == 1:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert relative_error(np.abs(found), np.abs(expected)) < 1e-5 and np.asarray(found).real.mean() > 0


def test_what_a_network_learned_from_tells_its_phase(scan, rng):
    several, maps, _ = scan
    one = {**several, "kspace": several["kspace"][:, 1:2]}
    magnitude, _ = acquire(rng, (24, 20), image=np.abs(random_complex(rng, (2, 24, 20))))
    physics = Cartesian(center_fraction=0.2)
    found = [physics.phase_after(x) for x in (magnitude, one, several, {**several, "sensitivity_maps": maps})]
    assert found == ["calibrated", "given", "calibrated", "given"]
    assert physics.phase_after({**one, "kspace": 0 * one["kspace"]}) == "given"
    assert Gridded((15, 13), center_fraction=0.4).phase_after(acquire_noncartesian(rng)[0]) == "given"
    with pytest.raises(ValueError, match="must be given in three dimensions"):
        Cartesian(dimensions=3, phase="calibrated")
    assert (
        NonCartesian((15, 13), center_fraction=0.4).phase_after(acquire_noncartesian(rng, coils=3)[0]) == "calibrated"
    )


def test_unknown_phases_are_refused():
    with pytest.raises(ValueError, match="`phase` must be one of given, calibrated, got 'none'"):
        Cartesian(phase="none")


def test_estimated_maps_do_not_see_what_the_mask_leaves_out(rng):
    batch, _ = acquire(rng, coils=3)
    other = {**batch, "kspace": batch["kspace"] + ((1 - batch["mask"]) * 9).astype("complex64")}
    physics = Cartesian(center_fraction=0.5)
    np.testing.assert_array_equal(*(physics.complete(x)["sensitivity_maps"] for x in (batch, other)))
    norms = root_sum_of_squares(physics.complete(batch)["sensitivity_maps"])
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
