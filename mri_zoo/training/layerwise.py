"""Layer-wise training: one part of a network after the other, on the output of those before, which stay as they are.

A network can be trained so if it has

- `stages`, the list of what is trained in turn: for each stage a list of layers and variables;
- `stage_outputs(batch)`, a generator of what the network gives after each stage, without those that follow: k-space
  (batch, coil, height, width) or an image (batch, height, width).
"""

import itertools
from pathlib import Path

import keras
from keras import ops

from mri_zoo.layers.nested import serialized
from mri_zoo.models.base import ReconstructionModel
from mri_zoo.models.replicas import whole_batch
from mri_zoo.storage import exclusive
from mri_zoo.training.devices import on_devices
from mri_zoo.training.settings import FREE, check_settings, settings_of
from mri_zoo.training.supervised import train_here


@on_devices
def train_layerwise(recipe, output, resume=False, prepared=None, report=print, verbose=0):
    """Train the stages of a recipe's network in turn, each for the recipe's `epochs`.

    Every stage is a training of its own, with its optimizer and schedule: the last one in `output`, those before in
    `stage-1` and so on below it. A stage goes on from the best epoch of the stage before (the predecessor took the
    last). Batches need `full_kspace`, an option of `mri_zoo.data.slices_of`.

    Args:
        recipe: of `load_recipe`.
        output: folder.
        resume: go on after the last finished epoch.
        prepared: see `mri_zoo.training.supervised.train`, also for what is written and for the errors.
        report: see there.
        verbose: see there.
        devices: see there.

    Returns:
        The trained network.

    Raises:
        ValueError: if the network names no stages, or batches have no `full_kspace`.

    Reference: Eo et al., MRM 80:2188, 2018.
    """
    with exclusive(output, "training"):
        return _train_stages(recipe, output, resume, prepared, report, verbose)


def _train_stages(recipe, output, resume, prepared, report, verbose):
    num_stages = len(_stages(recipe["model"](**recipe["model_arguments"])))
    recipe, seed = {**recipe, "strategy": None}, recipe["seed"]
    for i in range(num_stages):
        last = i == num_stages - 1
        folder = Path(output) if last else Path(output) / f"stage-{i + 1}"
        preset = folder / "preset" / recipe["name"]
        if not last and resume and preset.exists():
            wanted = settings_of({**recipe, "seed": seed + i}).items()
            check_settings(folder, {key: text for key, text in wanted if key not in (*FREE, "initial_weights")})
        else:
            report(f"stage {i + 1} of {num_stages}")
            network = train_here(
                {**recipe, "seed": seed + i},  # other masks in each stage
                *(folder, resume, prepared, report, verbose),
                wrap=lambda network, i=i: Stage(network, i),
            )
        recipe["initial_weights"] = preset
    network.trainable = True
    return network


@keras.saving.register_keras_serializable("mri_zoo")
class Stage(ReconstructionModel):
    """A network up to one of its stages, of which this stage alone is trained.

    The last stage learns from the target, with the loss of `compile`, and the others from `full_kspace` of the batch:
    by the mean magnitude of the complex error of their k-space, or of their image. Metrics are of the image always.

    Args:
        network: with `stages` and `stage_outputs`, see above. All but the stage becomes untrainable.
        index: of the stage.
    """

    def __init__(self, network, index, **kwargs):
        super().__init__(physics=network.physics, **kwargs)
        stages = _stages(network)
        if not 0 <= index < len(stages):
            raise ValueError(f"`index` must be in [0, {len(stages)}), got {index}.")
        self.network, self.index, self.is_last = network, index, index == len(stages) - 1
        self.error = keras.losses.MeanAbsoluteError()
        network.trainable = True  # on TensorFlow, a value that is set already does not reach the layers below
        network.trainable = False
        for part in stages[index]:
            part.trainable = True

    def call(self, batch):
        """What the network gives after the stage: k-space or an image."""
        return next(itertools.islice(self.network.stage_outputs(batch), self.index, None))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """See the class."""
        if self.is_last:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if "full_kspace" not in x:
            raise ValueError(
                "Layer-wise training needs `full_kspace` in the batch: set it in the recipe's `train_options` and "
                f"`validation_options`. The batch has {', '.join(x)}."
            )
        expected = x["full_kspace"] if _is_kspace(y_pred, x) else self._image(x["full_kspace"], x)
        error, sample_weight = whole_batch(x, ops.abs(y_pred - expected), sample_weight)
        return self.error(ops.zeros_like(error), error, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras's metrics of the magnitude."""
        image = self._image(y_pred, x) if _is_kspace(y_pred, x) else y_pred
        return super().compute_metrics(x, y, image, sample_weight)

    def _image(self, kspace, batch):
        return self.physics.combine_kspace(kspace, self.physics.complete(batch))

    def get_config(self):
        """The constructor's arguments."""
        config = {key: value for key, value in super().get_config().items() if key != "physics"}
        return {**config, "network": serialized(self.network), "index": self.index}


def _is_kspace(output, batch):
    return len(output.shape) == len(batch["kspace"].shape)


def _stages(network):
    if not hasattr(network, "stages"):
        raise ValueError(f"{type(network).__name__} names no `stages`: it cannot be trained layer by layer.")
    return network.stages
