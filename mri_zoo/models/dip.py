"""DIP: the deep image prior, a decoder fitted to one scan."""

import itertools

import keras
import numpy as np
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.convnet import chain, convolution
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.physics.coils import root_sum_of_squares
from mri_zoo.physics.complex import from_channels, from_real, scale


@keras.saving.register_keras_serializable("mri_zoo")
class DIP(ReconstructionModel):
    """Deep image prior: an untrained decoder D draws the coil images c = D(z) of one scan from a fixed random vector z.

    Its weights are those that minimise the mean of ``|F c - y|^2`` over the samples of all coils, without sensitivity
    maps and without density compensation; `reconstruct` fits them. What is learned is kept, also in a preset: the next
    scan starts from there (Darestani and Heckel) and takes a tenth of the steps. The image is c of one coil, or the
    root-sum-of-squares of several. The loss is computed as ``<c, F^H F c> - 2 Re <c, F^H y> + |y|^2``: non-Cartesian
    data is gridded once for each scan and not in each step.

    `predict` and `predict_on_batch` call `reconstruct` for each scan, so that what evaluates networks evaluates this
    one, too; `call` shows the decoder's image as it is. Several scans at once are refused where one image would have to
    be that of all: in `call`, `fit` and Keras's `evaluate`.

    Args:
        num_coils: of the scans.
        latent_size: numbers in z.
        num_hidden: of the first dense layer.
        base_size: height and width of the image that the second dense layer makes.
        num_upsamplings: times that its sides are doubled, each after two 3x3 convolutions. The images are zero-padded
            or cropped to the size of the scan.
        num_filters: channels of the convolutions.
        batch_normalization: between each convolution of the decoder, but the last, and its ReLU.
        num_steps: of the first fit.
        seed: of z.
        warm: the weights are those of an earlier fit, so that the next one takes a tenth of the steps.
        physics: the acquisition, in two dimensions.

    Reference: Ulyanov et al., CVPR 2018; Darestani and Heckel, IEEE TCI 7:724, 2021; Ramzi, thesis, section 5.2.5;
    1,570,322 parameters.
    """

    def __init__(
        self,
        num_coils=1,
        latent_size=64,
        num_hidden=512,
        base_size=20,
        num_upsamplings=4,
        num_filters=128,
        num_steps=10_000,
        seed=0,
        warm=False,
        batch_normalization=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(num_coils=num_coils, latent_size=latent_size, num_hidden=num_hidden, base_size=base_size)
        check_counts(num_upsamplings=num_upsamplings, num_filters=num_filters, num_steps=num_steps)
        check_flags(warm=warm, batch_normalization=batch_normalization)
        if self.physics.dimensions != 2:
            raise ValueError(f"`physics` must have 2 dimensions, got {self.physics.dimensions}.")
        self.num_coils, self.latent_size, self.num_hidden = num_coils, latent_size, num_hidden
        self.base_size, self.num_upsamplings, self.num_filters = base_size, num_upsamplings, num_filters
        self.num_steps, self.seed, self.warm = num_steps, seed, warm
        self.batch_normalization = batch_normalization
        dtype = self.dtype_policy
        self.latent = np.random.default_rng(seed).standard_normal((1, latent_size)).astype("float32")
        self.hidden = keras.layers.Dense(num_hidden, "relu", dtype=dtype)
        self.base = keras.layers.Dense(base_size**2, dtype=dtype)
        self.blocks = [_block(num_filters, batch_normalization, dtype) for _ in range(num_upsamplings + 1)]
        self.last = convolution(2 * num_coils, dtype=dtype)

    def decode(self, latent):
        """The decoder's coil images, (1, coil, side, side) complex64, of (1, `latent_size`) numbers."""
        x = ops.reshape(self.base(self.hidden(latent)), (-1, self.base_size, self.base_size, 1))
        for i, block in enumerate(self.blocks):
            if i > 0:
                x = ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)
            x = chain(block, x)
        return ops.transpose(from_channels(self.last(x)), (0, 3, 1, 2))

    def call(self, batch):
        """The decoder's image in the size of the scan, (1, height, width) complex64."""
        _require_one_scan(batch)
        coils = self._coil_images(batch)
        return coils[:, 0] if self.num_coils == 1 else from_real(root_sum_of_squares(coils))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The mean squared error of k-space; `x` comes from `prepare`."""
        _require_one_scan(x)
        coils = self._coil_images(x)
        curved = self.physics.coil_normal(coils, x) - scale(_adjoint(self.physics, x), 2.0)
        energy = _real_product(coils, curved) + _real_product(x["kspace"], x["kspace"])
        return energy / ops.cast(ops.size(x["kspace"]), "float32")

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The loss alone."""
        return self.get_metrics_result()

    def prepare(self, batch):
        """What does not change while the decoder is fitted: the batch without density compensation, and F^H y."""
        batch = self.physics.uncompensated(batch)
        # From here on the size of the image is known without maps, which the decoder has no use for.
        batch = {key: value for key, value in batch.items() if key != "sensitivity_maps"}
        # Of one coil, for which none are estimated.
        completed = self.physics.complete({**batch, "kspace": batch["kspace"][:, :1]})
        batch = {**completed, "kspace": batch["kspace"]}
        return {**batch, "adjoint": self.physics.coil_adjoint(batch["kspace"], batch)}

    def reconstruct(self, batch, num_steps=None):
        """Fit the decoder to one scan.

        Args:
            batch: of one scan, without a target.
            num_steps: by default the model's, and a tenth of it where the decoder has been fitted before. The optimizer
                is that of `compile`, Adam with a learning rate of 1e-3 if there was none.

        Returns:
            The image, (1, height, width) complex64.

        Raises:
            ValueError: if the batch has several scans, or another number of coils.
        """
        shape = tuple(batch["kspace"].shape[:2])
        if shape != (1, self.num_coils):
            raise ValueError(f"`kspace` must be of one scan with {self.num_coils} coil(s), got (scan, coil) {shape}.")
        if not self.compiled:
            self.compile(keras.optimizers.Adam(1e-3))  # the predecessor's
        if num_steps is None:
            num_steps = max(self.num_steps // 10, 1) if self.warm else self.num_steps
        batch = self.prepare({key: ops.convert_to_tensor(value) for key, value in batch.items()})
        for _ in range(num_steps):
            self.train_on_batch(batch)
        self.warm = True
        return self(batch)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """The images of all scans, (scan, height, width) complex64, each from a fit of its own.

        Args:
            x: a batch of any number of scans, or an iterable of batches, which may have targets, too.
            batch_size: not used.
            verbose: not used.
            steps: the most batches to take.
            callbacks: not used.

        Raises:
            ValueError: if there is no batch.
        """
        batches = [self._repeated(x)] if isinstance(x, dict) else itertools.islice(iter(x), steps)
        inputs = [batch[0] if isinstance(batch, tuple | list) else batch for batch in batches]
        if not inputs:
            raise ValueError("`x` has no batch; expected at least one scan.")
        return np.concatenate([self.predict_on_batch(batch) for batch in inputs])

    def test_step(self, *args, **kwargs):
        """Refused: Keras's `evaluate` would judge the decoder as it is, not as fitted to the scans.

        Raises:
            ValueError: always.
        """
        raise ValueError("DIP is fitted to each scan: use `mri_zoo.evaluation.harness`, or judge what `predict` gives.")

    def predict_on_batch(self, x):
        """The images of all scans, (batch, height, width) complex64 in NumPy, each from a fit of its own."""
        self._check(x)
        scans = [
            {key: value[i : i + 1] if len(value) > 1 else value for key, value in x.items()}
            for i in range(len(x["kspace"]))
        ]
        return np.concatenate([ops.convert_to_numpy(self.reconstruct(scan)) for scan in scans])

    def _coil_images(self, batch):
        return _resize(self.decode(self.latent), ops.shape(_adjoint(self.physics, batch))[2:])

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_coils": self.num_coils,
            "latent_size": self.latent_size,
            "num_hidden": self.num_hidden,
            "base_size": self.base_size,
            "num_upsamplings": self.num_upsamplings,
            "num_filters": self.num_filters,
            "num_steps": self.num_steps,
            "seed": self.seed,
            "warm": self.warm,
            "batch_normalization": self.batch_normalization,
        }


def _block(num_filters, batch_normalization, dtype):
    """The layers of two activated convolutions."""
    if not batch_normalization:
        return [convolution(num_filters, activation="relu", dtype=dtype) for _ in range(2)]
    layers = []
    for _ in range(2):
        # The predecessor's momentum is PyTorch's: the weight of the new batch. Keras reads it as that of the old ones.
        norm = keras.layers.BatchNormalization(momentum=0.1, epsilon=1e-5, dtype=dtype)
        layers += [convolution(num_filters, dtype=dtype), norm, keras.layers.ReLU(dtype=dtype)]
    return layers


def _require_one_scan(batch):
    number = batch["kspace"].shape[0]
    if number not in (1, None):
        raise ValueError(f"DIP is one scan's image, got {number} scans at once: `predict` fits each by itself.")


def _adjoint(physics, batch):
    return batch["adjoint"] if "adjoint" in batch else physics.coil_adjoint(batch["kspace"], batch)


def _real_product(x, y):
    return ops.sum(ops.real(x) * ops.real(y) + ops.imag(x) * ops.imag(y))


def _resize(images, size):
    """Crop the centre of the last two axes, or pad them evenly with zeros."""
    for axis, wanted in zip((2, 3), size, strict=True):
        missing = wanted - images.shape[axis]
        before = _positive(missing) // 2
        padding = [(0, 0)] * 4
        padding[axis] = (before, _positive(missing) - before)
        start = _positive(-missing) // 2
        images = ops.pad(images, padding)[(slice(None),) * axis + (slice(start, start + wanted),)]
    return images


def _positive(number):
    return max(number, 0) if isinstance(number, int) else ops.maximum(number, 0)
