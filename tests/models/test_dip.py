import keras
import numpy as np
import pytest
from helpers import acquire, acquire_noncartesian, relative_error

from mri_zoo import import_checkpoint
from mri_zoo.models import DIP
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.noncartesian import NonCartesian

TINY = {"latent_size": 6, "num_hidden": 8, "base_size": 4, "num_upsamplings": 2, "num_filters": 6}


@pytest.fixture(autouse=True)
def same_weights_each_time():
    keras.utils.set_random_seed(0)


def test_published_number_of_parameters():
    model = DIP()
    model.build()
    assert model.count_params() == 1_570_322


def test_equals_the_recorded_network(reference):
    folder = reference / "tensorflow" / "dip"
    model = import_checkpoint(folder / "checkpoint.h5", "fastmri-reproducible-benchmark", "DIP")
    expected = {"latent_size": 64, "num_hidden": 16, "base_size": 5, "num_upsamplings": 3, "num_filters": 6}
    assert model.warm
    assert (expected | {"num_coils": 1}).items() <= model.get_config().items()
    assert isinstance(model.physics, NonCartesian)
    with np.load(folder / "io.npz") as io:
        assert relative_error(model.decode(io["latent"])[:, 0], io["image_complex"][..., 0]) < 1e-5
        model.latent = io["latent"]
        samples = {
            "kspace": io["kspace"][..., 0],
            "trajectory": np.swapaxes(io["trajectory"], 1, 2),
            "density": np.ones((1, 396), "float32"),
        }
        model.physics = NonCartesian((32, 42))
        assert relative_error(np.abs(model(samples)), io["output"][..., 0]) < 1e-5
        # The recorded k-space is that of the decoder's image, so nothing is left to fit; their scale is another.
        model.physics = NonCartesian((44, 36))
        samples["kspace"] = 2 * samples["kspace"]
        energy = np.mean(np.abs(samples["kspace"]) ** 2)
        assert 0 <= float(model.compute_loss(model.prepare(samples))) < 1e-4 * energy


@pytest.mark.parametrize("coils, maps", [(1, False), (3, False), (3, True)])
def test_loss_is_the_mean_squared_error_of_kspace(rng, coils, maps):
    model = DIP(coils, **TINY, physics=NonCartesian(None if maps else (15, 13)))
    batch, _ = acquire_noncartesian(rng, coils=coils, maps=maps, batch_size=1)
    prepared = model.prepare(batch)
    deviation = np.asarray(model.physics.coil_forward(model._coil_images(prepared), batch)) - batch["kspace"]
    expected = np.mean(np.abs(deviation) ** 2)
    assert float(model.compute_loss(prepared)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "physics, acquired",
    [
        pytest.param(Cartesian(), acquire, marks=pytest.mark.slow, id="grid"),
        pytest.param(NonCartesian((15, 13)), acquire_noncartesian, id="samples"),
    ],
)
def test_a_second_scan_starts_where_the_first_ended(rng, physics, acquired, monkeypatch):
    model = DIP(2, **TINY, num_steps=60, physics=physics)
    batch, _ = acquired(rng, coils=2, batch_size=1)
    prepared, losses, step = model.prepare(batch), [], model.train_on_batch
    monkeypatch.setattr(model, "train_on_batch", lambda x: losses.append(float(model.compute_loss(x))) or step(x))
    first = model.reconstruct(batch)
    assert first.shape == (1, 15, 13) and len(losses) == 60
    assert float(model.compute_loss(prepared)) < 0.9 * losses[0]
    model.reconstruct(batch)
    assert len(losses) == 66 and losses[60] < 0.9 * losses[0]
    model.reconstruct(batch, num_steps=2)
    assert len(losses) == 68


def test_batches_of_the_pipeline_have_a_size_and_a_density_that_is_not_used(rng):
    batch, _ = acquire_noncartesian(rng, batch_size=1)
    prepared = DIP(**TINY, physics=NonCartesian()).prepare(NonCartesian((15, 13)).complete(batch))
    expected = DIP(**TINY, physics=NonCartesian((15, 13))).prepare(batch)
    for key in ("kernel", "adjoint"):
        assert relative_error(prepared[key], expected[key]) < 1e-5


def test_a_warm_decoder_starts_warm_again(rng):
    model = DIP(**TINY, num_steps=30, warm=True)
    assert DIP.from_config(model.get_config()).warm
    batch, _ = acquire(rng, batch_size=1)
    model.reconstruct(batch)
    assert int(model.optimizer.iterations) == 3


def test_predict_on_batch_fits_each_scan(rng, monkeypatch):
    model = DIP(**TINY, num_steps=3, physics=NonCartesian((15, 13)))
    batch, _ = acquire_noncartesian(rng)
    seen, reconstruct = [], model.reconstruct
    monkeypatch.setattr(model, "reconstruct", lambda scan: seen.append(scan) or reconstruct(scan))
    images = model.predict_on_batch(batch)
    assert images.shape == (2, 15, 13) and images.dtype == np.complex64
    for i, scan in enumerate(seen):
        np.testing.assert_array_equal(scan["kspace"], batch["kspace"][i : i + 1])
        np.testing.assert_array_equal(scan["trajectory"], batch["trajectory"][i : i + 1])


def test_predict_fits_each_scan_and_what_shows_one_image_for_all_is_refused(rng, monkeypatch):
    batch, _ = acquire(rng, coils=2)
    model, seen = DIP(**TINY, num_coils=2), []
    fit = lambda scan: seen.append(scan) or np.full((1, 15, 13), len(seen), "complex64")  # noqa: E731
    monkeypatch.setattr(model, "reconstruct", fit)
    images = model.predict([(batch, None), (batch, None)], steps=1)
    np.testing.assert_array_equal(images[:, 0, 0], [1, 2])
    np.testing.assert_array_equal(np.concatenate([scan["kspace"] for scan in seen]), batch["kspace"])
    for use in (model, model.compute_loss):
        with pytest.raises(ValueError, match="one scan's image, got 2 scans"):
            use(batch)
    with pytest.raises(ValueError, match="fitted to each scan"):
        model.test_step((batch, None))


@pytest.mark.parametrize("size", [(15, 13), (16, 19), (21, 8)])
def test_image_is_the_centre_of_the_decoders(rng, size):
    model = DIP(**TINY)
    batch, _ = acquire(rng, size, batch_size=1)
    image, drawn = np.asarray(model(batch))[0], np.asarray(model.decode(model.latent))[0, 0]
    for axis, (found, whole) in enumerate(zip(size, (16, 16), strict=True)):
        if found < whole:
            drawn = np.take(drawn, np.arange(found) + (whole - found) // 2, axis=axis)
        else:
            padding = [(0, 0), (0, 0)]
            padding[axis] = ((found - whole) // 2, found - whole - (found - whole) // 2)
            drawn = np.pad(drawn, padding)
    np.testing.assert_allclose(image, drawn, atol=1e-6)


def test_image_of_several_coils_is_their_root_sum_of_squares(rng):
    model = DIP(3, **TINY)
    batch, _ = acquire(rng, (16, 16), coils=3, batch_size=1)
    drawn = np.asarray(model.decode(model.latent))
    np.testing.assert_allclose(model(batch), np.linalg.norm(drawn, axis=1), rtol=1e-5)


def test_saved_model_gives_equal_outputs(rng, tmp_path):
    model = DIP(2, **TINY, num_steps=2, seed=3)
    batch, _ = acquire(rng, coils=2, batch_size=1)
    expected = model.reconstruct(batch)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.get_config() == model.get_config()
    np.testing.assert_array_equal(copy(batch), expected)


def test_scans_that_do_not_fit_are_refused(rng):
    model = DIP(2, **TINY)
    for batch_size, coils in [(2, 2), (1, 1)]:
        batch, _ = acquire(rng, coils=coils, batch_size=batch_size)
        with pytest.raises(
            ValueError, match=rf"one scan with 2 coil\(s\), got \(scan, coil\) \({batch_size}, {coils}\)"
        ):
            model.reconstruct(batch)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_coils": 0}, "`num_coils` must be a whole number >= 1, got 0"),
        ({"base_size": 0}, "`base_size` must be a whole number >= 1, got 0"),
        ({"num_steps": 0}, "`num_steps` must be a whole number >= 1, got 0"),
        ({"physics": Cartesian(dimensions=3)}, "`physics` must have 2 dimensions, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DIP(**arguments)
