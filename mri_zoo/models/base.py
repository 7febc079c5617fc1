"""What every model of the zoo shares: a typed build, complex output, a magnitude for Keras to judge."""

import os

import h5py
import keras
import numpy as np
from keras import ops

from mri_zoo.data.hdf5 import check_own, open_hdf5
from mri_zoo.data.volume import DataError
from mri_zoo.layers.nested import deserialized, serialized, start_from_templates
from mri_zoo.models.preset import preset_from_config, preset_to_config
from mri_zoo.models.replicas import (
    added_losses,
    is_shared,
    number_of_replicas,
    synchronized,
    undivided_losses,
    whole_batch,
)
from mri_zoo.physics.acquisition import Acquisition
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.physics.checks import values


class ReconstructionModel(keras.Model):
    """A reconstruction network: `call(batch)` returns the complex image, Keras is shown its cropped magnitude.

    Keras losses cast complex predictions to float32 and drop the imaginary part; the magnitude, centre-cropped to the
    target, is what every loss and metric of `compile` gets here, so that ``loss="mae"`` and plain `fit` are right.

    Args:
        physics: the acquisition, `Cartesian()` by default.

    Raises:
        ValueError: if `physics` is no acquisition, or Keras's `image_data_format` is not "channels_last".
    """

    build_size = 32  # height and width of the image for which `build` creates the weights; a model may need more

    def __init__(self, physics=None, **kwargs):
        if keras.config.image_data_format() != "channels_last":
            raise ValueError(
                f"Keras's setting `image_data_format` is {keras.config.image_data_format()!r} (in ~/.keras/keras.json, "
                "or set by the program); mri_zoo needs 'channels_last'."
            )
        # Inputs keep their precision: under mixed precision the Fourier transforms stay float32.
        super().__init__(autocast=False, **kwargs)
        self._call_has_training_arg = True  # else Keras does not tell that it trains, and no layer normalises batches
        if not isinstance(physics, Acquisition | None):
            raise ValueError(f"`physics` must be an acquisition such as `Cartesian()`, got {physics!r}.")
        self.physics = physics if physics is not None else Cartesian()

    @property
    def supports_jit(self):
        """Whether XLA can compile the model: with TensorFlow a physics that calls the host stands against it."""
        return self._supports_jit and (keras.backend.backend() != "tensorflow" or self.physics.supports_jit)

    @supports_jit.setter
    def supports_jit(self, value):
        self._supports_jit = value

    def build(self, input_shape=None):
        """Create all weights. The model knows its own inputs, so `input_shape` is not needed."""
        # Keras would trace `call` with float32 placeholders, fail on complex k-space, and only warn. Where a size is
        # left open it would run the model on 83 images of 83 coils on PyTorch: hence a small batch of known sizes.
        self.compute_output_spec(self.batch_spec())
        start_from_templates(self)
        self.built = True

    def batch_spec(self):
        """A small batch, by whose shapes and types `build` creates the weights."""
        return self.physics.batch_spec(batch=1, coils=2, size=self.build_size)

    def get_build_config(self):
        """What a `.keras` file tells besides the constructor's arguments: the model's `preset`, where it has one."""
        config, preset = super().get_build_config(), getattr(self, "preset", None)
        return config if preset is None else {**(config or {}), "preset": preset_to_config(preset)}

    def build_from_config(self, config):
        """Create all weights when a saved model is reloaded, and its `preset`."""
        self.build()
        if config.get("preset") is not None:
            self.preset = preset_from_config(config["preset"], self)

    def fit(self, x=None, *args, validation_data=None, **kwargs):
        """Keras's `fit`; arrays are checked first, as a graph does not know their values.

        What all slices share, with a leading extent of 1, is repeated, as Keras takes as many of each key; in
        `validation_data`, too. On several devices each gets a share of every batch, and the loss, the metrics and batch
        normalisation are of the whole.
        """
        if isinstance(validation_data, tuple | list) and validation_data:
            validation_data = self._repeated(validation_data[0]), *validation_data[1:]
        if validation_data is not None:
            validation_data = self._shared_out(validation_data)
        with synchronized(self):
            return super().fit(self._shared_out(self._repeated(x)), *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """Keras's `evaluate`, see `fit`."""
        return super().evaluate(self._shared_out(self._repeated(x)), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """Keras's `predict`, see `fit`."""
        return super().predict(self._repeated(x), *args, **kwargs)

    def train_on_batch(self, x, *args, **kwargs):
        """Keras's `train_on_batch`; arrays are checked first."""
        self._check(x)
        self._require_one_device("train_on_batch")
        return super().train_on_batch(x, *args, **kwargs)

    def test_on_batch(self, x, *args, **kwargs):
        """Keras's `test_on_batch`; arrays are checked first."""
        self._check(x)
        self._require_one_device("test_on_batch")
        return super().test_on_batch(x, *args, **kwargs)

    def predict_on_batch(self, x):
        """Keras's `predict_on_batch`; arrays are checked first."""
        self._check(x)
        if is_shared(self):  # Keras would have every device reconstruct them all, and return them all
            return ops.convert_to_numpy(self(x))
        return super().predict_on_batch(x)

    def __call__(self, batch, *args, **kwargs):
        """The reconstructed image; arrays are checked while they are arrays, before Keras makes tensors of them."""
        if isinstance(batch, dict) and any(isinstance(value, np.ndarray) for value in batch.values()):
            self._check(batch)
        return super().__call__(batch, *args, **kwargs)

    def stateless_call(self, *args, training=None, **kwargs):
        """Keras's `stateless_call`, by which JAX runs a model.

        It would hand `training` to `call`, which has no such argument; the layers within are told here instead.
        """
        self._get_call_context().set_value("training", training)
        try:
            return super().stateless_call(*args, **kwargs)
        finally:
            self._maybe_reset_call_context()

    def _check(self, x):
        if isinstance(x, dict):
            for key in ("kspace", "sensitivity_maps"):
                if key in x and keras.backend.standardize_dtype(x[key].dtype) != "complex64":
                    found = keras.backend.standardize_dtype(x[key].dtype)
                    raise ValueError(f"`{key}` must be complex64, got {found}.")
            self.physics.check(x)

    def _require_one_device(self, method):
        if is_shared(self):
            raise ValueError(f"`{method}` works on one device alone; use `fit` and `evaluate` on several.")

    def _shared_out(self, data):
        if not is_shared(self):
            return data
        from mri_zoo.data.shares import distributed  # which is of TensorFlow

        return distributed(data, self.distribute_strategy)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Keras's, which would take the mean of all devices' shares of a batch to see what it is like."""
        if not is_shared(self) or iterator is None:
            super()._maybe_symbolic_build(iterator, data_batch)
            return
        parts = (self, self.optimizer, self._compile_loss, self._compile_metrics)
        if all(part is None or part.built for part in parts):
            return  # without a look at the data, which costs time
        _, _, batches = next(iter(iterator))
        local = self.distribute_strategy.experimental_local_results
        data_batch = keras.tree.map_structure(lambda value: local(value)[0], next(batches))
        super()._maybe_symbolic_build(data_batch=data_batch)

    def _repeated(self, x):
        self._check(x)
        if not isinstance(x, dict) or any(values(value) is None for value in x.values()):
            return x
        number = max(map(len, x.values()))
        return {key: ops.repeat(value, number, axis=0) if len(value) == 1 else value for key, value in x.items()}

    def steps(self, batch):
        """The images that a training may judge, a list that ends with the one of `call`: here, that one alone.

        An unrolled network may give the image of every iteration. A strategy whose loss sees them all wraps the model:
        its own `call` calls `steps` in place of the model, and adds up the losses of the list with a weight for each.
        """
        return [self(batch)]

    def coil_steps(self, batch):
        """The images of `steps`, each with the network's own images of every coil, or with None where it has none.

        A network of k-space or coil images, as `VarNet`, tells them (batch, coil, height, width): data consistency and
        the losses of k-space take their Fourier transform. That of any other is F S x, of the image and the maps.
        """
        return [(image, None) for image in self.steps(batch)]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras's loss of the cropped magnitude."""
        image = magnitude_like(y, y_pred)
        if number_of_replicas() == 1:
            return super().compute_loss(x, y, image, sample_weight, training)
        added = added_losses(self, y)
        y, image, sample_weight = whole_batch(x, y, image, sample_weight)
        self._losses_override = added  # what Keras adds; replicas share the attribute, but not while one is here
        try:
            with undivided_losses():
                return super().compute_loss(x, y, image, sample_weight, training) / number_of_replicas()
        finally:
            self._losses_override = []

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras's metrics of the cropped magnitude."""
        return super().compute_metrics(x, *whole_batch(x, y, magnitude_like(y, y_pred), sample_weight))

    def load_weights(self, filepath, **kwargs):
        """Keras's `load_weights`, but a file with other weights than the model's is an error.

        Keras fills a model that has fewer cascades than the file without a word.

        Raises:
            ValueError: if the number of weights in a `.weights.h5` file differs from the model's.
            DataError: if the file is damaged or holds links or complex numbers, or weights are not finite; the model
                has the latter then.
        """
        if not self.built:
            self.build()
        if str(filepath).endswith(".weights.h5"):
            found = _count_weights(filepath)
            if found != len(self.weights):
                raise ValueError(
                    f"{filepath} holds {found} weight arrays, this {type(self).__name__} has {len(self.weights)}: "
                    "it was written by a model with other arguments (number of iterations, of filters, ...)."
                )
        super().load_weights(filepath, **kwargs)
        for variable in self.weights:
            if not np.isfinite(ops.convert_to_numpy(variable)).all():
                raise DataError(f"{filepath} holds NaN or infinity in `{variable.path}`; expected finite weights.")

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), "physics": serialized(self.physics)}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`; physics and networks may be objects already."""
        return cls(**deserialized(config))


def require_model(model, argument="model"):
    """Refuse to wrap what is no model.

    Args:
        model: what was given.
        argument: its name.

    Raises:
        ValueError: if it is no `ReconstructionModel`.
    """
    if not isinstance(model, ReconstructionModel):
        raise ValueError(f"`{argument}` must be a ReconstructionModel, got {model!r}.")


def require_grid(physics, what):
    """Refuse networks in k-space where its samples are no grid.

    Args:
        physics: of the model.
        what: has these networks.

    Raises:
        ValueError: if `physics` is not `Cartesian`.
    """
    if not isinstance(physics, Cartesian):
        raise ValueError(f"{what} needs k-space on a grid: `physics` must be Cartesian, got {type(physics).__name__}.")


def magnitude_like(target, image):
    """|image| (batch, height, width), centre-cropped to the target's height and width.

    Raises:
        ValueError: if the target is larger than the image.
    """
    return center_crop(ops.abs(image), ops.shape(target)[-2:])


def center_crop(image, size):
    """The central (height, width) of the last two axes; the start is ``(n - size) // 2``, as in fastMRI.

    Raises:
        ValueError: if a known extent is smaller than asked for.
    """
    (height, width), extent = size, ops.shape(image)[-2:]
    for have, want in zip(extent, size, strict=True):
        if isinstance(have, int) and isinstance(want, int) and have < want:
            raise ValueError(f"Cannot crop an image of {tuple(extent)} pixels to {tuple(size)}: it is smaller.")
    top, left = (extent[0] - height) // 2, (extent[1] - width) // 2
    cropped = image[..., top : top + height, left : left + width]
    if all(isinstance(n, int) for n in (*extent, *size)):
        return cropped
    # What is larger by a pixel would become one row by the negative start, and broadcast in the loss.
    return ops.reshape(cropped, (*ops.shape(image)[:-2], height, width))


def _count_weights(path):
    """Number of arrays in a Keras weights file, without the optimizer's and the metrics'."""
    arrays = {}

    def linked(name, link):
        return None if isinstance(link, h5py.HardLink) else name

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item

    stored = isinstance(path, str | os.PathLike)
    with open_hdf5(path, "weights in HDF5") if stored else h5py.File(path, "r") as file:
        name = file.visititems_links(linked)  # HDF5 calls it, and would replace its errors by one of its own
        if name is not None:
            raise DataError(f"{path}: `{name}` is a link; expected the weights themselves.")
        file.visititems(visit)
        for name, item in arrays.items():
            if item.dtype.kind == "c":
                raise DataError(f"{path}: `{name}` has type {item.dtype}; expected real weights.")
            if stored:
                check_own(file, name, item)
    return sum(not name.startswith(("optimizer/", "metrics/", "_metrics/")) for name in arrays)
