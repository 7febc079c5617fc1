"""Reading the arrays of foreign checkpoints, and putting them into a model."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np

from mri_zoo.data.preparation import ConstantScaling
from mri_zoo.data.volume import DataError
from mri_zoo.presets.importers.reading import read_keras, read_safetensors, read_torch


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How a source stores one network.

    Attributes:
        model: our class.
        infer: function (checkpoint) -> the constructor arguments that the arrays tell.
        weights: function (model, checkpoint) -> (variable, name of the array, value) of every weight, where value is
            the array in the variable's layout.
        asks: options that neither the arrays tell nor one published use, and that `config` must give: arguments of
            ours, "network.activation" of a network that is the argument `network`, or names of `fixed`.
        assumes: dict of further arguments that the arrays do not tell, to the values taken, see `ImportReport`.
        fixed: dict of the source's options for which the zoo has no argument, to the only value that it has;
            "network.option" is an option of the network that is the argument `network`.
        adapt: function (architecture, checkpoint, told arguments) -> the architecture with what `asks`, `assumes` and
            `fixed` have for the networks of this checkpoint alone.
        advice: dict of the source's options to the sentence on what is written here instead.
        scaling: the rule by which the source scales the k-space that its weights expect.
        select: function (dict of all arrays) -> dict of the network's, under the names that the others know: the
            checkpoint of a training holds more.
        extend: function (model, checkpoint, options) -> the model with what the checkpoint has beyond it.
        extension: names of the options of `extend`.
        sampling: function (mask or trajectory, or None) -> the one that the source means by it.
    """

    model: type
    infer: Callable
    weights: Callable
    asks: tuple[str, ...] = ()
    scaling: object = ConstantScaling()
    select: Callable = dict
    extend: Callable = lambda model, checkpoint: model
    extension: tuple[str, ...] = ()
    sampling: Callable = lambda sampling: sampling
    assumes: dict = dataclasses.field(default_factory=dict)
    fixed: dict = dataclasses.field(default_factory=dict)
    adapt: Callable = lambda architecture, checkpoint, told: architecture
    advice: dict = dataclasses.field(default_factory=dict)


class Checkpoint:
    """The arrays of a file.

    Attributes:
        path: the file.
        arrays: dict from name to NumPy array, in the order of the file. PyTorch's nested dicts have dotted names.
        layers: of HDF5: dict from each layer that has weights to the list of its arrays' names, in order.
    """

    def __init__(self, path):
        self.path, self.layers = Path(path), {}
        if not self.path.is_file():
            found = "is a folder" if self.path.is_dir() else "no such file"
            raise DataError(f"{path}: {found}; expected a checkpoint.")
        if h5py.is_hdf5(self.path):
            self.arrays, self.layers = read_keras(self.path)
        elif self.path.suffix in (".h5", ".hdf5"):
            raise DataError(f"{path}: is truncated or damaged; expected HDF5.")
        elif self.path.suffix == ".safetensors":
            self.arrays = read_safetensors(self.path)
        else:
            self.arrays = read_torch(self.path)
        if not self.arrays:
            raise DataError(f"{path}: holds no arrays; expected the weights of a network.")
        self._names = {}

    def __getitem__(self, name):
        if name not in self.arrays:
            raise DataError(f"{self.path}: has no array `{name}`; it holds {some(map(self.stored_name, self.arrays))}.")
        return self.arrays[name]

    def select(self, select):
        """Keep the arrays that `select` gives, see `Architecture`."""
        stored = {id(array): name for name, array in self.arrays.items()}
        self.arrays = select(self.arrays)
        self._names = {name: stored[id(array)] for name, array in self.arrays.items()}

    def stored_name(self, name):
        """What the file calls an array, for errors."""
        return self._names.get(name, name)

    def scalar(self, name):
        """An array that holds one number, as an array without axes.

        Raises:
            DataError: if there is no such array, or it holds more.
        """
        array = self[name]
        if array.size != 1:
            raise DataError(
                f"{self.path}: array `{self.stored_name(name)}` has the shape {array.shape}; expected one number."
            )
        return array.reshape(())

    def in_order(self, *layers):
        """(name, array) of the arrays of these layers, of all by default, in the order of the file.

        Raises:
            DataError: if the file is not one of Keras.
        """
        if not self.layers:
            raise DataError(f"{self.path}: holds no layers of Keras; expected HDF5 of Keras 2.")
        names = [name for layer in layers or self.layers for name in self.layers[layer]]
        return [(name, self.arrays[name]) for name in names]


def layer_weights(layer, checkpoint, name):
    """(variable, name, array) triples of a Keras layer, from PyTorch's layer `name` of the same kind.

    For convolutions, transposed ones too, and for batch normalisation; not for what a convolution's activation learns.
    """
    names = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
    names |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    for variable in (weight for weight in layer.weights if weight.name in names):
        array = checkpoint[f"{name}.{names[variable.name]}"]
        yield variable, f"{name}.{names[variable.name]}", channels_last(array)


def channels_last(array):
    """PyTorch's kernel of a convolution in Keras's order, other arrays as they are.

    Both kinds of convolution have their channels before the space, in the reverse order of Keras's.
    """
    return array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 2 else array


def assign(model, checkpoint, weights):
    """Put arrays into a model's variables.

    Args:
        model: built.
        checkpoint: of the arrays.
        weights: (variable, name, array) triples.

    Raises:
        DataError: if an array is not of real floating-point numbers, a shape differs, a value is not finite, an array
            is left over, or a variable got none, or two that are not equal. The model is then unchanged.
    """
    weights, first = list(weights), {}
    variables = {id(variable): variable for variable in model.variables}
    for variable, name, array in weights:
        variables[id(variable)]  # an error here: Keras does not know that the model has it
        shown = f"{checkpoint.path}: array `{checkpoint.stored_name(name)}`"
        if array.dtype.kind != "f":
            raise DataError(f"{shown} is of {array.dtype}; expected real floating-point numbers.")
        with np.errstate(over="ignore"):
            array = array.astype("float32", copy=False)
        if not np.isfinite(array).all():
            raise DataError(f"{shown} holds NaN or values that are not finite in float32.")
        other, value = first.setdefault(id(variable), (name, array))
        if other != name and not np.array_equal(value, array):
            raise DataError(f"{shown} differs from `{checkpoint.stored_name(other)}`; expected one shared weight.")
        if tuple(variable.shape) != array.shape:
            stored = checkpoint.arrays[name].shape
            own = "" if stored == array.shape else f"of shape {stored} "
            raise DataError(
                f"{shown} {own}gives a weight of "
                f"shape {array.shape}; expected {tuple(variable.shape)} for {_places(model, [variable])}."
            )
    used = {name for _, name, _ in weights}
    left = [checkpoint.stored_name(name) for name in checkpoint.arrays if name not in used]
    if left:
        raise DataError(
            f"{checkpoint.path}: holds arrays for which this {type(model).__name__} has no place: {some(left)}."
        )
    without = [variable for i, variable in variables.items() if i not in first]
    if without:
        raise DataError(f"{checkpoint.path}: has no array for {_places(model, without)}.")
    for variable in model.variables:
        _, array = first[id(variable)]
        variable.assign(array)


def image_by_image(kernel, *num_images):
    """A kernel (..., in, out) that sees all real parts before all imaginary ones, for the zoo's order of channels.

    Unrolled networks of the zoo see each group of images (the buffer, then what the operators add) on its own: its real
    parts, then its imaginary parts.
    """
    total, order, start = sum(num_images), [], 0
    for n in num_images:
        order += [*range(start, start + n), *range(total + start, total + start + n)]
        start += n
    return kernel[..., order, :]


def some(names):
    """The first three names, and how many more there are."""
    names = list(names)
    return ", ".join(f"`{name}`" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _places(model, variables):
    """Where a reader of the model's class finds these variables."""
    return f"{some(_place(model, variable) for variable in variables)} of {type(model).__name__}"


def _place(thing, variable, name=""):
    """The attributes that lead to a variable, as in ``networks[0].down[1].kernel``, or None."""
    is_list = isinstance(thing, list | tuple)
    if not is_list and not (isinstance(thing, keras.layers.Layer) and any(w is variable for w in thing.variables)):
        return None
    children = enumerate(thing) if is_list else vars(thing).items()
    for key, child in children:
        child_name = f"{name}[{key}]" if is_list else f"{name}.{key}".removeprefix(".")
        found = None if str(key).startswith("_") else _place(child, variable, child_name)
        if found is not None:
            return found
    return None if is_list else f"{name}.{variable.name}".removeprefix(".")
