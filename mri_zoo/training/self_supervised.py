"""Training without ground truth, alone (SSDU) or together with supervised training on other data (JSSL).

A batch has input and target samples: `kspace` and `mask` of the input, `target_kspace` and `target_mask`. The network
sees the input alone, its image (or its coil images, where it has its own) is turned back into k-space, and the samples
of the target are compared, and their image. Where ground truth is missing, input and target are a partition of what was
sampled (`GaussianSplit`, `UniformSplit`, `ShotSplit`); where it is there, the target is all of k-space (`FullTarget`),
and the same loss is supervised. So a training is self-supervised, supervised or joint by its data sets alone.
"""

import keras
import numpy as np
from keras import ops

from mri_zoo.layers.nested import serialized
from mri_zoo.losses import DualDomainLoss
from mri_zoo.models.base import ReconstructionModel, magnitude_like, require_model
from mri_zoo.models.data_consistent import DataConsistent, complete_with, reconstruction_of
from mri_zoo.models.replicas import added_losses, whole_batch
from mri_zoo.physics.complex import scale
from mri_zoo.physics.noncartesian import NonCartesian
from mri_zoo.training.devices import on_devices
from mri_zoo.training.supervised import train


@on_devices
def train_jointly(recipe, output, resume=False, prepared=None, report=print, verbose=0):
    """Train a recipe's network on target and proxy data, whose `datasets` say which is which.

    The preset is the recipe's model. With a `DataConsistent` one the output keeps the measured samples (equation 16 of
    JSSL), and supervised samples are judged so as well; else the network's image is both (equation 21).

    Args:
        recipe: of `load_recipe`, whose `loss` is a `DualDomainLoss`.
        output: folder.
        resume: go on after the last finished epoch.
        prepared: see `mri_zoo.training.supervised.train`, also for what is written and for the errors.
        report: see there.
        verbose: see there.
        devices: see there.

    Returns:
        The trained network.

    Raises:
        ValueError: if the recipe has another loss, or its batches no target samples.

    Reference: Yaman et al., SSDU, MRM 84:3172, 2020; Yiasemis et al., JSSL, arXiv:2311.15856.
    """
    if not isinstance(recipe["loss"], DualDomainLoss):
        raise ValueError(f"Joint training needs a `DualDomainLoss`, got the loss {recipe['loss']!r}.")
    return train({**recipe, "strategy": None}, output, resume, prepared, report, verbose, wrap=JointTraining)


@keras.saving.register_keras_serializable("mri_zoo")
class JointTraining(ReconstructionModel):
    """A network that learns from input and target samples, by the `DualDomainLoss` of `compile`.

    Batch keys, besides `kspace` (batch, coil, height, width) and `mask` (batch, 1, 1 or height, width) of the input:
        target_kspace: (batch, coil, height, width) complex64, zero outside the target.
        target_mask: (batch, 1, 1 or height, width) float32, 1 where the target has samples.
        self_supervised: (batch,) float32, 1 where input and target are a partition of the samples, else 0.
    A depth or frames, where the network takes them, precede the height. A batch without these keys is reconstructed,
    and judged by the image part of the loss. Of data along a trajectory `kspace` has zeros in the target, `density` and
    `kernel` are those of the input, which weigh the target's samples with zero, and instead of masks there are
        target_mask: (batch, 1, samples) float32.
        target_density: (batch, samples) float32, the compensation of the target's samples, zero outside.
    A network is then judged by what it predicts of the target alone: measured samples have no place in its k-space.

    Of `VarNet` and `RecurrentVarNet` the k-space is that of their own coil images, of other networks that of the image
    and the maps. Where the network is no `DataConsistent`, supervised samples are judged by what it gives: its image
    and, of these two, its k-space as it is.

    Sensitivity maps come from all that was sampled, also of a partition, as the authors' do: the centre alone has
    them, and the partition has holes there. Of a network with several `steps`, each counts, with weights from 0.1 to 1.

    Args:
        network: the model that is trained.

    Reference: Yiasemis et al., JSSL, arXiv:2311.15856, equations 17 to 19; `JSSLMRIModelEngine` and
    `VSharpNetJSSLEngine` of github.com/NKI-AI/direct.
    """

    def __init__(self, network, **kwargs):
        require_model(network, "network")
        super().__init__(physics=network.physics, **kwargs)
        self.judges_consistent = isinstance(network, DataConsistent)
        self.along_trajectory = isinstance(network.physics, NonCartesian)
        self.wraps = not self.judges_consistent and not self.along_trajectory
        self.model = DataConsistent(network) if self.wraps else network
        if network.physics.along_trajectory and not self.along_trajectory:
            raise ValueError("Gridded k-space has no samples that could be split: `physics` must be another.")
        reconstruction_of(network)  # raises where the maps are not to be had

    @property
    def network(self):
        """The model that is trained."""
        return self.model.model if self.wraps else self.model

    def batch_spec(self):
        """That of the network."""
        return self.network.batch_spec()

    def build(self, input_shape=None):
        """Create all weights, first the network's: `coil_steps` does not come by its own `build`."""
        if not self.network.built:
            self.network.build()
        super().build(input_shape)

    def _check(self, x):
        super()._check(x)
        if isinstance(x, dict) and "target_kspace" in x:
            _check_target(x)

    def call(self, batch):
        """The network's image, or of a batch with a target a dict of the `images` of all steps and of the maps.

        Networks with coil images of their own also give these, see `coil_steps`.
        """
        if "target_kspace" not in batch:
            return self.network(batch)
        _check_target(batch)
        maps = self._maps(batch)
        known = {key: batch[key] for key in ("kspace", "mask", "trajectory", "density", "kernel") if key in batch}
        images, coil_images = zip(*reconstruction_of(self.network).coil_steps(known | maps), strict=True)
        prediction = {"images": list(images), **maps}
        return prediction if coil_images[-1] is None else {**prediction, "coil_images": list(coil_images)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """See the class; as in Keras, what the layers add to the loss (regularisation) is added.

        Raises:
            ValueError: for a training batch without a target, and for sample weights or another loss than a
                `DualDomainLoss` of one with a target.
        """
        if "target_kspace" not in x:
            if training:
                raise ValueError(
                    "Joint training needs `target_kspace` in the batch: give the recipe `datasets`, or a `split` in "
                    f"`train_options`. The batch has {', '.join(x)}."
                )
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if sample_weight is not None:
            raise ValueError("Joint training takes no `sample_weight`: the loss of k-space is that of a whole batch.")
        if not isinstance(self.loss, DualDomainLoss):
            raise ValueError(f"Joint training needs a `DualDomainLoss`, got the loss {self.loss!r}.")
        added, total, weights = added_losses(self, y), 0.0, step_weights(len(y_pred["images"]))
        predicted = [self._predicted(x, y_pred, i) for i in range(len(weights))]
        images = [magnitude_like(y, image) for _, image in predicted]
        judged = [
            i for i in range(len(weights)) if self.loss.kspace and (self.loss.every_step or i == len(weights) - 1)
        ]
        known = [y, x["target_kspace"]] if judged else [y]
        whole = whole_batch(x, *known, *images, *(predicted[i][0] for i in judged))
        y, images, kspaces = whole[0], whole[len(known) :][: len(images)], whole[len(known) + len(images) :]
        for weight, image in zip(weights, images, strict=True):
            total += weight * ops.mean(self.loss.call(y, image))
        for i, kspace in zip(judged, kspaces, strict=True):
            total += weights[i] * self.loss.of_kspace(whole[1], kspace)
        # Before `_Value`, so that several devices add it once together.
        total += sum(ops.sum(ops.cast(loss, total.dtype)) for loss in added)
        return _Value(name="joint")(ops.zeros((1,)), ops.reshape(total, (1,)))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras's metrics of the magnitude that the loss judges, of the last step."""
        image = self._predicted(x, y_pred, -1)[1] if "target_kspace" in x else y_pred
        return super().compute_metrics(x, y, image, sample_weight)

    def _predicted(self, batch, prediction, step):
        """The k-space of the target and the image that one step gives, of which the loss is taken."""
        maps = {key: value for key, value in prediction.items() if key == "sensitivity_maps"}
        image = prediction["images"][step]
        coils = prediction["coil_images"][step] if "coil_images" in prediction else None
        partitioned = batch["self_supervised"] > 0
        if self.along_trajectory:
            target = {"trajectory": batch["trajectory"], "density": batch["target_density"], "kernel": batch["kernel"]}
            coils = self.physics.expand(image, maps) if coils is None else coils
            kspace = scale(self.physics.coil_forward(coils, target | maps), batch["target_mask"])
            projected = self.physics.adjoint(kspace, target | maps)
        else:
            kspace = self.model.kspace(image, {**batch, **maps}, coils)
            if coils is not None and not self.judges_consistent:  # k-space as the network gives it, like its image
                kspace = ops.where(_broadcast(partitioned, kspace), kspace, self.physics.kspace_of_coils(coils))
            kspace = scale(kspace, batch["target_mask"])
            projected = self.physics.combine_kspace(kspace, maps)
        if self.judges_consistent:
            return kspace, projected
        return kspace, ops.where(_broadcast(partitioned, image), projected, image)

    def _maps(self, batch):
        """The sensitivity maps, from all samples of a partition; {} of one coil without."""
        flags = batch["self_supervised"]
        kept = {key: value for key, value in batch.items() if key in ("sensitivity_maps", "trajectory", "kernel")}
        moved = _broadcast(flags, batch["kspace"])
        if not self.along_trajectory:  # a centre that both parts share is in the input already
            moved = moved * (1 - batch["mask"])
        kspace = batch["kspace"] + scale(batch["target_kspace"], moved)
        weights = "density" if self.along_trajectory else "mask"
        others = batch[f"target_{weights}"]
        sampled = {**kept, "kspace": kspace, weights: ops.maximum(batch[weights], _broadcast(flags, others) * others)}
        completed = complete_with(self.network, sampled)
        return {key: value for key, value in completed.items() if key == "sensitivity_maps"}

    def get_config(self):
        """The constructor's arguments."""
        config = {key: value for key, value in super().get_config().items() if key != "physics"}
        return {**config, "network": serialized(self.network)}


def step_weights(number):
    """The weights of the losses of a network's steps: from 0.1 to 1 in geometric progression; 1 for one step."""
    return np.logspace(-1, 0, number).tolist() if number > 1 else [1.0]


def _broadcast(flags, x):
    """(batch,) with the rank of `x`."""
    return ops.reshape(flags, (-1, *[1] * (len(x.shape) - 1)))


def _check_target(batch):
    """Refuse a batch whose target is not complete, or does not fit the input."""
    for key in ("target_mask", "self_supervised", *(["target_density"] if "trajectory" in batch else [])):
        if key not in batch:
            raise ValueError(f"A batch with `target_kspace` needs `{key}`. The batch has {', '.join(batch)}.")
    for key in ("target_kspace", "sensitivity_maps"):
        shapes = [tuple(batch[name].shape) for name in ("kspace", key) if name in batch]
        # Along trajectories k-space has not the size of the maps.
        compared = [shape[:2] for shape in shapes] if "trajectory" in batch else shapes
        if any(None not in sizes and len(set(sizes)) > 1 for sizes in zip(*compared, strict=True)):
            raise ValueError(
                f"All of a batch must have the same coils and size, got `kspace` of shape {shapes[0]} and `{key}` of "
                f"shape {shapes[1]}."
            )
    kspace = tuple(batch["kspace"].shape)
    for key in ("target_mask", "mask"):
        if key not in batch:  # along a trajectory there is no `mask`
            continue
        mask = tuple(batch[key].shape)
        sizes = zip(mask, (kspace[0], 1, *kspace[2:]), strict=False)
        if len(mask) != len(kspace) or any(None not in pair and pair[0] not in (1, pair[1]) for pair in sizes):
            raise ValueError(
                f"`{key}` must have one coil, and else the extents of `kspace` or 1, got the shape {mask} with "
                f"`kspace` of {kspace}."
            )


class _Value(keras.losses.Loss):
    """A value that is a loss already, so that Keras scales it where several devices share a batch."""

    def call(self, y_true, y_pred):
        return y_pred
