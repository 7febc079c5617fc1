"""Training on several devices of TensorFlow as on one: `tf.distribute` has a replica of the model on each of them.

Every replica reconstructs its share of a batch. The loss and the metrics are taken of the whole batch, which each one
gathers, so that they are those of one device: for shares of unequal size, and for losses that look at a whole batch. Of
the loss each replica differentiates its own share.
"""

import contextlib

import keras
from keras import ops

from mri_zoo.data.shares import COUNT
from mri_zoo.physics.complex import from_channels, to_channels


def number_of_replicas():
    """How many replicas compute a step together with this one: 1 outside of such a step, and on other backends."""
    context = _context()
    return 1 if context is None else context.num_replicas_in_sync


def whole_batch(batch, *tensors):
    """Each of the tensors (share, ...), or None, for the whole batch, (batch, ...), in the order of its slices.

    Outside of a step of several replicas they are the tensors themselves. All replicas must call this alike. The
    gradient of a share is the sum of those that all replicas have for it, as `keras.losses` divide a mean by their
    number.

    Args:
        batch: dict of this replica's share; where there are fewer slices than replicas, each has them all.
        *tensors: what was made of it.
    """
    if number_of_replicas() == 1:
        return tensors
    given = [ops.convert_to_tensor(tensor) for tensor in tensors if tensor is not None]
    kinds = [keras.backend.standardize_dtype(tensor.dtype).startswith("complex") for tensor in given]
    # GPUs exchange no complex numbers.
    real = [to_channels(x[..., None]) if is_complex else x for x, is_complex in zip(given, kinds, strict=True)]
    gathered = [_context().all_gather(x, axis=0) for x in real]  # the gradient of several at once is broken
    if COUNT in batch:
        number = _context().all_reduce("sum", ops.sum(batch[COUNT]))
        gathered = [x[:number] for x in gathered]
    found = (from_channels(x)[..., 0] if is_complex else x for x, is_complex in zip(gathered, kinds, strict=True))
    return tuple(None if tensor is None else next(found) for tensor in tensors)


def added_losses(model, share):
    """What layers add to the loss of a share, so that the means over all replicas are what they add for the batch.

    This must be read before `whole_batch`: while a replica waits for the others, these fill the lists of the layers.

    Args:
        model: that was called.
        share: a tensor (share, ...).
    """
    losses, number = list(model.losses), number_of_replicas()
    if number == 1 or not losses:
        return losses
    context, size = _context(), ops.cast(ops.shape(share)[0], "float32")
    weight = number * size / context.all_reduce("sum", size)
    # Those of weights come last in Keras, and are the same everywhere; those of outputs are means over the slices.
    of_outputs = len(losses) - sum(variable.regularizer is not None for variable in model.trainable_variables)
    return [
        ops.where(size > 0, loss * ops.cast(weight, loss.dtype), 0.0) if i < of_outputs else loss
        for i, loss in enumerate(losses)
    ]


@contextlib.contextmanager
def undivided_losses():
    """A block in which Keras takes losses as on one device.

    Of several it divides means by their number, but neither sums nor losses that are one number, which would be added
    once for each: divide the total instead.
    """
    from keras.src.losses import loss as module

    names = "scale_loss_for_distribution", "unscale_loss_for_distribution"
    before = [getattr(module, name) for name in names]
    for name in names:
        setattr(module, name, lambda value: value)
    try:
        yield
    finally:
        for name, function in zip(names, before, strict=True):
            setattr(module, name, function)


def is_shared(model):
    """Whether a model was made for several replicas."""
    return keras.backend.backend() == "tensorflow" and model.distribute_strategy.num_replicas_in_sync > 1


def on_one_device(model):
    """The same model, outside of any scope; a model that is none of several replicas as it is."""
    if not is_shared(model):
        return model
    copy = type(model).from_config(model.get_config())
    copy.build()
    copy.set_weights(model.get_weights())
    if hasattr(model, "preset"):
        copy.preset = model.preset
    return copy


@contextlib.contextmanager
def synchronized(model):
    """A block in which several replicas that share a model normalise whole batches, and clip the gradient of them.

    Raises:
        ValueError: if the model is compiled for what `tf.distribute` cannot do.
    """
    if not is_shared(model):
        yield
        return
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise ValueError("`gradient_accumulation_steps` works on one device alone; take larger batches instead.")
    if model.steps_per_execution != 1:
        raise ValueError(f"`steps_per_execution` must be 1 on several devices, got {model.steps_per_execution}.")
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    before = [layer.synchronized for layer in layers]
    for layer in layers:
        layer.synchronized = True
    clips = optimizer is not None and (optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue)
    if clips:
        clip = optimizer._clip_gradients
        optimizer._clip_gradients = lambda gradients: _clipped_together(clip, gradients)
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.synchronized = value
        if clips:
            del optimizer._clip_gradients


def _clipped_together(clip, gradients):
    """The clipped sum of all replicas' gradients, divided by their number, as they are added once more."""
    number = number_of_replicas()
    if number == 1:
        return clip(gradients)
    summed = [None if gradient is None else _context().all_reduce("sum", gradient) for gradient in gradients]
    return [None if gradient is None else gradient / number for gradient in clip(summed)]


def _context():
    """That of the replica, None where there is none."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()
