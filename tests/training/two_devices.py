"""Trainings on one device and on two made of the processor, compared: a program, as devices come before TensorFlow."""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


def changes(make_model, data, loss, steps, **options):
    """{number of devices: (change of all weights in the first step, and in all, mean loss and metric)}."""
    import keras

    from mri_zoo.training.devices import devices_scope

    found = {}
    for number, devices in ((2, "cpu:2"), (1, None)):
        with devices_scope(devices):
            keras.utils.set_random_seed(0)
            model = make_model()
            model.build()
            # Unlike Adam it shows a wrong scale, and does not make noise as large as any gradient.
            model.compile(keras.optimizers.SGD(0.01, **options), loss, metrics=["mse"])
        before, after = model.get_weights(), []
        for part in (data.take(1), data.skip(1).repeat().take(steps - 1)):
            history = model.fit(part, verbose=0).history
            after.append([new - old for new, old in zip(model.get_weights(), before, strict=True)])
        found[number] = *after, [values[-1] for values in history.values()]
    return found


def assert_equal(found, tolerance):
    for one, two in zip(found[1], found[2], strict=True):
        scale = max(np.max(np.abs(value)) for value in one)
        assert scale > 0
        for ours, theirs in zip(one, two, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=tolerance, atol=tolerance * scale)


def batches(batch, target, sizes):
    """A dataset of batches of these sizes, one after the other."""
    import tensorflow as tf

    ends, parts = np.cumsum(sizes), []
    for begin, end in zip([0, *ends], ends, strict=False):
        arrays = (
            {key: value if len(value) == 1 else value[begin:end] for key, value in batch.items()},
            target[begin:end],
        )
        parts.append(arrays)
    spec = tf.nest.map_structure(lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), parts[0])
    return tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=spec)


def losses_and_normalisation_of_whole_batches(reduction):
    """Ten steps on batches of 3 and 1: batch normalisation, a regulariser of outputs, a loss that looks at a batch."""
    import keras
    from helpers import acquire

    from mri_zoo.losses import HFEN
    from mri_zoo.models import DealiasingNet

    def network():
        layers = keras.layers
        options = {"padding": "same", "activity_regularizer": "l2", "kernel_regularizer": "l2"}
        return keras.Sequential(
            [layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.Conv2D(2, 3, **options)]
        )

    batch, image = acquire(np.random.default_rng(0), batch_size=5)
    data = batches(batch, np.abs(image).astype("float32"), (3, 1, 1))
    loss = HFEN("l1", normalize=True, reduction=reduction)
    assert_equal(changes(lambda: DealiasingNet(network()), data, loss, 10), 2e-5)


def clipped_gradients_and_losses_of_one_number():
    """The gradient of the whole batch is clipped; a loss that gives one number counts once; so does a sum."""
    import keras
    from helpers import acquire
    from keras import ops

    from mri_zoo.training.devices import devices_scope

    batch, image = acquire(np.random.default_rng(0), batch_size=4)
    data = batches(batch, np.abs(image).astype("float32"), (3, 1))
    for options in ({"clipnorm": 1e-3}, {"global_clipnorm": 1e-3}, {"clipvalue": 1e-4}):
        assert_equal(changes(small_network, data, "mae", 2, **options), 2e-5)
    for loss in (lambda y, x: ops.mean(ops.abs(y - x)), keras.losses.MeanAbsoluteError(reduction="sum")):
        assert_equal(changes(small_network, data, loss, 2), 2e-5)
    with devices_scope("cpu:2"):
        model = small_network()
        model.compile(keras.optimizers.SGD(gradient_accumulation_steps=2), "mae")
        for use, text in ((model.fit, "gradient_accumulation_steps"), (model.train_on_batch, "one device alone")):
            try:
                use(batch, np.abs(image))
            except ValueError as error:
                assert text in str(error), error
            else:
                raise AssertionError(f"{text} is not refused")


def small_network():
    import keras

    from mri_zoo.models import DealiasingNet

    return DealiasingNet(keras.Sequential([keras.layers.Conv2D(2, 3, padding="same")]))


def resumed_on_another_number(folder):
    """The command with two devices, resumed on one, gives the log of one device, and goes on with its optimizer."""
    import h5py

    from mri_zoo import cli
    from mri_zoo.training.recipes import load_recipe
    from mri_zoo.training.supervised import train

    recipe, settings = HERE / "tiny_recipe.py", ["schedule=constant", "batch_size=11", "epochs=1"]
    sys.argv = ["mri-zoo", "train", str(recipe), "-o", str(folder / "two"), "--devices", "cpu:2"]
    sys.argv += [f"--set={setting}" for setting in settings]
    try:
        cli.main()
    except SystemExit as error:
        assert not error.code
    settings[-1] = "epochs=2"
    again = train(load_recipe(recipe, settings), folder / "two", resume=True, devices=1)
    whole = train(load_recipe(recipe, settings), folder / "one")
    logs = [np.genfromtxt(folder / name / "log.csv", delimiter=",", names=True) for name in ("one", "two")]
    for column in ("loss", "slice_psnr", "val_loss", "val_slice_ssim"):
        np.testing.assert_allclose(logs[1][column], logs[0][column], rtol=1e-4)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    with h5py.File(folder / "two" / "last.weights.h5") as file:
        assert file["optimizer/vars/0"][()] == 4  # steps


def every_model():
    """One step of three slices for every model of the zoo, and along a trajectory that its slices share."""
    from helpers import acquire_noncartesian
    from zoo import LEARNED, acquire_for, create

    from mri_zoo.physics.noncartesian import NonCartesian

    for name in LEARNED:
        batch, image = acquire_for(name, np.random.default_rng(0), coils=2, batch_size=4)
        data = batches(batch, np.abs(image)[..., 1:, 1:12].astype("float32"), (3, 1))
        found = changes(lambda name=name: create(name), data, "mse", 2)
        assert_equal(found, 1e-3)
        print(name, flush=True)
    batch, image = acquire_noncartesian(np.random.default_rng(0), coils=2, batch_size=4)
    batch = {key: value[:1] if key in ("trajectory", "density") else value for key, value in batch.items()}
    data = batches(batch, np.abs(image).astype("float32"), (3, 1))
    physics = NonCartesian(image_size=image.shape[1:], center_fraction=0.3)
    assert_equal(changes(lambda: create("ncpdnet", physics=physics), data, "mse", 2), 1e-3)


def every_strategy(folder):
    """The logs of all strategies with batches that two devices do not divide."""
    from mri_zoo.training.recipes import load_recipe
    from mri_zoo.training.supervised import prepare, train

    for name in ("joint", "kiki", "trajectory", "samples", "prepared"):
        settings = ["epochs=1", "batch_size=3", *(["steps_per_epoch=2"] if name == "samples" else [])]
        recipe, logs = HERE / f"tiny{'' if name == 'prepared' else '_' + name}_recipe.py", []
        prepared = None
        if name == "prepared":
            prepared = folder / "batches"
            prepare(load_recipe(recipe, settings), prepared)
        for number, devices in ((2, "cpu:2"), (1, 1)):
            output = folder / f"{name}-{number}"
            train(load_recipe(recipe, settings), output, prepared=prepared, devices=devices)
            logs.append(np.genfromtxt(output / "log.csv", delimiter=",", names=True))
        for column in logs[0].dtype.names:
            if column != "seconds":
                np.testing.assert_allclose(logs[0][column], logs[1][column], rtol=1e-4, err_msg=f"{name} {column}")


if __name__ == "__main__":
    from mri_zoo.training.devices import device_names

    device_names("cpu:2")
    folder = Path(sys.argv[2])
    if sys.argv[1] == "fast":
        losses_and_normalisation_of_whole_batches("sum_over_batch_size")
        clipped_gradients_and_losses_of_one_number()
    else:
        losses_and_normalisation_of_whole_batches("sum")
        resumed_on_another_number(folder)
        every_strategy(folder)
        every_model()
    print("equal")
