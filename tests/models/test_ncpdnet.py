import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import PaddedNonCartesian, acquire_noncartesian, recorded_noncartesian_batch, relative_error
from tfkbnufft import kbnufft_adjoint, kbnufft_forward
from tfkbnufft.kbnufft import KbNufftModule

from mri_zoo import import_checkpoint
from mri_zoo.models import NCPDNet, PDNet
from mri_zoo.physics import nufft
from mri_zoo.physics.noncartesian import NonCartesian

BENCHMARK = "fastmri-reproducible-benchmark"
CONFIG = {"compensated": True, "normalized": False}


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({}, 156_260),
        ({"refiner_filters": (4, 8, 16)}, 163_718),
        ({"num_iterations": 6, "num_primal": 2, "num_filters": 16, "physics": NonCartesian(dimensions=3)}, 67_608),
    ],
)
def test_published_number_of_parameters(arguments, expected):
    model = NCPDNet(**arguments)
    model.build()
    assert model.count_params() == expected


@pytest.mark.parametrize(
    "case, transform_size, expected",
    [
        ("ncpdnet_radial", (64, 48), {"num_iterations": 3, "num_primal": 3, "num_filters": 8}),
        ("ncpdnet_multicoil", (64, 48), {"num_iterations": 2, "num_primal": 2, "refiner_filters": (4, 8, 16)}),
        ("ncpdnet_3d", (16, 16, 20), {"num_iterations": 2, "num_primal": 2, "num_filters": 4}),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_equals_the_recorded_network(reference, case, transform_size, expected, exact):
    """The predecessor's transform looks its kernel up in a table, which is off by 1e-3: once like it, once exact."""
    folder = reference / "tensorflow" / case
    batch, size = recorded_noncartesian_batch(folder / "io.npz", transform_size)
    model = import_checkpoint(folder / "checkpoint.h5", BENCHMARK, "NCPDNet", CONFIG)
    assert expected.items() <= model.get_config().items()
    assert isinstance(model.physics, NonCartesian) and model.physics.dimensions == len(size)
    model.physics = NonCartesian(size, len(size)) if exact else PaddedNonCartesian(size, transform_size)
    with np.load(folder / "io.npz") as io:
        assert relative_error(model(batch), io["output_complex"][..., 0]) < (1e-3 if exact else 1e-5)
        if "smaps_refined" in io:
            assert relative_error(model.refiner(batch["sensitivity_maps"]), io["smaps_refined"]) < 1e-5


def test_is_a_primal_only_pdnet(rng):
    physics = NonCartesian((15, 13))
    model, other = NCPDNet(2, 2, 4, physics=physics), PDNet(2, 2, 1, 4, True, "adjoint", physics=physics)
    batch, _ = acquire_noncartesian(rng)
    expected = model(batch)
    other.build()
    other.set_weights(model.get_weights())
    assert relative_error(other(batch), expected) < 1e-5


def test_slices_may_share_a_trajectory(rng):
    model = NCPDNet(2, 2, 4, physics=NonCartesian((15, 13)))
    batch, _ = acquire_noncartesian(rng, coils=2)
    shared = {key: value[:1] if key in ("trajectory", "density") else value for key, value in batch.items()}
    assert relative_error(model(shared), model(batch)) < 1e-5
    assert relative_error(model.predict(shared, verbose=0), model.predict(batch, verbose=0)) < 1e-5
    with pytest.raises(ValueError, match="`kspace` must be complex64, got complex128"):
        model.predict({**batch, "kspace": batch["kspace"].astype("complex128")})


@pytest.mark.parametrize("num_iterations", [2, 4])
def test_no_iteration_grids(rng, monkeypatch, num_iterations):
    calls, run = [], nufft._run_finufft
    monkeypatch.setattr(nufft, "_run_finufft", lambda kind, *arguments: calls.append(kind) or run(kind, *arguments))
    model = NCPDNet(num_iterations, 2, 4, physics=NonCartesian((15, 13), implementation="finufft"))
    batch, target = acquire_noncartesian(rng)
    model.predict_on_batch(batch)
    assert calls == [1, 1]  # the adjoint of the measurement, and the kernel
    model.compile("adam", "mae")
    model.train_on_batch(batch, np.abs(target))
    assert calls == [1, 1] * 2


def without_compensation(model, batch, size, normalized):
    """The predecessor's iterations without density compensation, with its transform.

    Its samples are by ``2**(-dimensions / 2)`` smaller than ours of the same image, as its forward transform is.
    """
    transform = KbNufftModule(im_size=size, norm="ortho")
    back = kbnufft_adjoint(transform._extract_nufft_interpob())
    trajectory = np.swapaxes(batch["trajectory"], 1, 2)
    maps = batch.get("sensitivity_maps", np.ones((1, 1, *size), "complex64"))

    def adjoint(kspace):
        images = np.asarray(back(tf.constant(kspace.astype("complex64")), tf.constant(trajectory)))
        return np.sum(np.conj(maps) * images, 1)

    def forward(image):
        coils = tf.constant((maps * image[:, None]).astype("complex64"))
        return np.asarray(kbnufft_forward(transform._extract_nufft_interpob())(coils, tf.constant(trajectory)))

    def largest(image):
        return np.max(np.abs(image), axis=tuple(range(1, image.ndim)), keepdims=True) if normalized else 1.0

    measured = batch["kspace"] * 0.5 ** (len(size) / 2)
    image = adjoint(measured)
    scale = largest(image)
    measured = measured / (scale if np.ndim(scale) == 0 else scale.reshape(-1, 1, 1))
    primal = np.stack([image / scale] * model.num_primal, axis=-1)
    for network in model.primal_nets:
        back_projected = adjoint(forward(primal[..., 0]) - measured)
        back_projected = (back_projected / largest(back_projected))[..., None]
        parts = primal.real, primal.imag, back_projected.real, back_projected.imag
        update = np.asarray(network(np.concatenate(parts, axis=-1).astype("float32")))
        primal = primal + update[..., : model.num_primal] + 1j * update[..., model.num_primal :]
    return primal[..., 0] * scale


@pytest.mark.parametrize("size, coils, normalized", [((16, 14), 1, True), ((16, 14), 3, False), ((8, 6, 10), 1, False)])
def test_network_without_compensation_is_the_predecessors(rng, size, coils, normalized):
    physics = NonCartesian(size, len(size))
    model = NCPDNet(2, 2, 4, normalized=normalized, compensated=False, physics=physics)
    batch, _ = acquire_noncartesian(rng, size, coils, maps=coils > 1)
    expected = without_compensation(model, batch, size, normalized)
    assert relative_error(model(batch), expected) < 5e-3  # of the predecessor's table
    del batch["density"]  # has no place in it
    assert relative_error(model(batch), expected) < 5e-3
    if normalized:
        same = NCPDNet(2, 2, 4, normalized=True, physics=physics)
        same.build()
        same.set_weights(model.get_weights())
        np.testing.assert_array_equal(same(batch), model(batch))


def test_both_flags_are_kept_and_old_configurations_mean_what_they_meant():
    for flags in ({}, {"normalized": True}, {"compensated": False}, {"normalized": True, "compensated": True}):
        model = NCPDNet(1, 1, 2, **flags)
        expected = {"normalized": False, "compensated": not flags.get("normalized"), **flags}
        config = model.get_config()
        assert {name: config[name] for name in expected} == expected
        assert NCPDNet.from_config(model.get_config()).get_config() == config
    del config["compensated"]
    assert not NCPDNet.from_config(config).compensated
    with pytest.raises(ValueError, match="`compensated` must be True or False, got 'no'"):
        NCPDNet(1, 1, 2, compensated="no")


def test_maps_of_a_network_without_compensation_are_those_with_it(rng):
    batch, _ = acquire_noncartesian(rng, coils=3)
    physics = NonCartesian((15, 13))
    completed = physics.complete_uncompensated(batch)
    expected = physics.complete(batch)["sensitivity_maps"]
    np.testing.assert_array_equal(completed["sensitivity_maps"], expected)
    np.testing.assert_array_equal(completed["density"], np.full(batch["density"].shape, 0.25))


def test_normalized_network_sees_neither_the_scale_nor_the_density(rng):
    model = NCPDNet(2, 2, 4, normalized=True, physics=NonCartesian((15, 13)))
    batch, _ = acquire_noncartesian(rng)
    expected = np.asarray(model(batch))
    louder = model({**batch, "kspace": 1e3 * batch["kspace"]})
    assert relative_error(louder, 1e3 * expected) < 1e-4
    compensated = model.physics.complete({**batch, "density": rng.random(batch["density"].shape).astype("float32")})
    assert relative_error(model(compensated), expected) < 1e-5
    model.physics = NonCartesian()  # the size is that of the kernel, which is replaced
    assert relative_error(model(compensated), expected) < 1e-5
    ones = model.physics.complete({**compensated, **model.physics.uncompensated(compensated)})
    np.testing.assert_array_equal(ones["density"], np.ones(batch["density"].shape))
    kernel = NonCartesian((15, 13)).complete({**batch, "density": ones["density"]})["kernel"]
    assert relative_error(ones["kernel"], kernel) < 1e-5


def test_first_back_projection_is_normalised(rng, monkeypatch):
    seen, model = [], NCPDNet(2, 1, 4, normalized=True, physics=NonCartesian((15, 13)))
    batch, _ = acquire_noncartesian(rng)
    model.build()
    for network in model.primal_nets:
        monkeypatch.setattr(network, "call", lambda x: seen.append(np.asarray(x)) or 0.1 * x[..., :2])
    model(batch)
    for x in seen:
        largest = np.max(np.hypot(x[..., 2], x[..., 3]), axis=(1, 2))
        np.testing.assert_allclose(largest, 1, rtol=1e-5)
    np.testing.assert_allclose(np.max(np.hypot(seen[0][..., 0], seen[0][..., 1]), axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("size, dimensions", [((15, 13), 2), ((7, 6, 5), 3)])
def test_fit_lowers_the_loss_and_a_reload_gives_equal_outputs(rng, tmp_path, size, dimensions):
    keras.utils.set_random_seed(0)
    model = NCPDNet(2, 2, 4, physics=NonCartesian(size, dimensions))
    batch, image = acquire_noncartesian(rng, size)
    model.compile(keras.optimizers.Adam(0.01), loss="mae")
    losses = model.fit(batch, np.abs(image), epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.get_config() == model.get_config()
    for saved, weight in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, saved)
    assert relative_error(copy(batch), model(batch)) < 1e-5  # FINUFFT's threads add in any order


def test_sizes_and_coil_counts_vary(rng):
    model = NCPDNet(2, 2, 4, physics=NonCartesian())
    for size, coils in [((15, 13), 1), ((17, 20), 2), ((16, 33), 3)]:
        batch, _ = acquire_noncartesian(rng, size, coils, maps=True)
        found = model.predict(batch, verbose=0)
        assert found.shape == (2, *size)
        assert relative_error(found, model(batch)) < 1e-5


def test_mixed_precision_keeps_complex_numbers_whole(rng):
    batch, _ = acquire_noncartesian(rng, coils=2, maps=True)
    exact, mixed = (NCPDNet(2, 2, 4, dtype=dtype) for dtype in ("float32", "mixed_bfloat16"))
    expected = exact(batch)
    mixed.build()
    mixed.set_weights(exact.get_weights())
    found = np.asarray(mixed(batch))
    assert found.dtype == np.complex64
    assert 0 < relative_error(found, expected) < 0.05


def test_weights_with_networks_of_kspace_are_refused(reference):
    with pytest.raises(ValueError, match="has networks of k-space"):
        import_checkpoint(reference / "tensorflow" / "pdnet_subclassed" / "checkpoint.h5", BENCHMARK, "NCPDNet", CONFIG)


USES = {
    "call": lambda model, batch: model(batch),
    "predict": lambda model, batch: model.predict(batch, verbose=0),
    "predict_on_batch": lambda model, batch: model.predict_on_batch(batch),
    "fit": lambda model, batch: model.fit(batch, np.ones((2, 15, 13)), verbose=0),
    "train_on_batch": lambda model, batch: model.train_on_batch(batch, np.ones((2, 15, 13))),
    "test_on_batch": lambda model, batch: model.test_on_batch(batch, np.ones((2, 15, 13))),
    "evaluate": lambda model, batch: model.evaluate(batch, np.ones((2, 15, 13)), verbose=0),
}


@pytest.mark.parametrize("use", USES)
def test_bad_batches_are_refused_inside_of_graphs_and_outside(rng, use):
    model = NCPDNet(1, 1, 2, physics=NonCartesian((15, 13)))
    model.compile("adam", loss="mae")
    good, _ = acquire_noncartesian(rng)
    USES[use](model, good)
    holes = np.where(np.arange(97)[:, None] == 5, np.nan, good["trajectory"])
    for key, value, message in [
        ("trajectory", 2 * good["trajectory"], "radians per pixel, from -pi to pi, got values up to"),
        ("trajectory", good["trajectory"] / 20, "Along the height, the trajectory reaches only"),
        ("kspace", good["kspace"].real, "`kspace` must be complex64, got float32"),
        ("trajectory", holes, "The trajectory holds NaN"),
        ("trajectory", good["trajectory"][:, 0], r"`trajectory` must have the shape \(batch or 1, samples, 2\), got"),
        ("trajectory", np.zeros((2, 97, 3), "float32"), r"samples, 2\), got \(2, 97, 3\)"),
        ("kspace", good["kspace"][..., 1:], r"`trajectory` must .*got \(2, 97, 2\) with `kspace` of \(2, 1, 96\)"),
        ("kspace", good["kspace"] * np.nan, "`kspace` holds NaN"),
        ("density", 0 * good["density"], "zero everywhere"),
        ("density", -good["density"], "must not be negative"),
        ("sensitivity_maps", np.ones((2, 1, 4, 15, 13), "complex64"), "coil, height, width\\), got"),
    ]:
        with pytest.raises(ValueError, match=message):
            USES[use](model, {**good, key: value})


def test_a_dataset_with_an_impossible_trajectory_is_refused_by_the_transform(rng):
    """Values inside of a graph are seen where the host computes."""
    model = NCPDNet(1, 1, 2, physics=NonCartesian((15, 13), implementation="finufft"))
    model.compile("adam", loss="mae")
    batch, _ = acquire_noncartesian(rng)
    dataset = tf.data.Dataset.from_tensors(({**batch, "trajectory": 2 * batch["trajectory"]}, np.ones((2, 15, 13))))
    with pytest.raises(tf.errors.InvalidArgumentError, match="radians per pixel, from -pi to pi, got values up to"):
        model.fit(dataset, verbose=0)
