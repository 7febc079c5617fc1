"""Batches of `tf.data` for several devices: each gets its share, and what all slices have in common as a whole."""

import keras

from mri_zoo.data.noncartesian import SHARED

# Keras weighs the mean loss of a batch by the length of its first array by name: that of this one is right.
COUNT = "_slices"


def distributed(batches, strategy):
    """Batches as a `tf.distribute.DistributedDataset`, whatever their size; what is no dataset as it is.

    TensorFlow would cut what all slices of a batch share, and give a device without a slice an image without pixels.

    Args:
        batches: `tf.data.Dataset` of batches, a `keras.utils.PyDataset` of a known length, or anything else.
        strategy: of `tf.distribute`; those of several machines have ways of their own.
    """
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MirroredStrategy):
        return batches
    if isinstance(batches, keras.utils.PyDataset) and hasattr(batches, "__len__"):
        batches = _from_arrays(batches)
    if not isinstance(batches, tf.data.Dataset) or not isinstance(batches.element_spec, tuple):
        return batches
    result = strategy.distribute_datasets_from_function(lambda _: shares(batches, strategy.num_replicas_in_sync))
    result._cardinality = batches.cardinality().numpy()  # Keras takes it for the number of steps
    return result


def shares(batches, number):
    """Dataset of the shares of each batch, `number` for each, as equal as possible.

    Of a batch with fewer slices than that every share is the whole, as no network needs to know an image of no size.
    The length of `COUNT` in a share, or its value where its own slices are those of one array, tells how many of the
    slices it stands for: those of all shares make the batch.

    Args:
        batches: `tf.data.Dataset` of (dict, target) or (dict, target, weights); an array with a leading extent of 1
            belongs to all slices of a batch.
        number: of shares.
    """
    import tensorflow as tf

    def cut(inputs, *others):
        size = tf.reduce_max([tf.shape(tensor)[0] for tensor in tf.nest.flatten((inputs, others))])
        first = inputs[min(inputs)]

        def share(index):
            start, stop = ((size * i + number - 1) // number for i in (index, index + 1))
            begin, end = tf.where(size < number, 0, start), tf.where(size < number, size, stop)

            def part(tensor, shared=False):
                whole = (tf.shape(tensor)[0] == 1) & ((size > 1) | shared)
                return tensor[tf.where(whole, 0, begin) : tf.where(whole, 1, end)]

            # As Keras counts them on one device: one for a batch whose first array is of all slices.
            whole = (tf.shape(first)[0] == 1) & (size > 1)
            count = tf.fill([tf.where(whole, 1, stop - start)], tf.where(whole, stop - start, 1))
            parts = {key: part(tensor, key in SHARED) for key, tensor in inputs.items()}
            return {**parts, COUNT: count}, *tf.nest.map_structure(part, others)

        return tf.data.Dataset.range(number, output_type=tf.int32).map(share)

    found, count = batches.flat_map(cut), batches.cardinality().numpy()
    if count == tf.data.UNKNOWN_CARDINALITY:
        return found
    infinite = count == tf.data.INFINITE_CARDINALITY
    return found.apply(tf.data.experimental.assert_cardinality(count if infinite else number * count))


def _from_arrays(batches):
    """`tf.data.Dataset` of a `PyDataset`, which is told of the end of each epoch."""
    import tensorflow as tf

    def generate():
        for index in range(len(batches)):
            yield batches[index]
        batches.on_epoch_end()

    spec = tf.nest.map_structure(lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), batches[0])
    dataset = tf.data.Dataset.from_generator(generate, output_signature=spec)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(1)
