"""FOCNet, the fractional optimal control network of Jia et al."""

import keras
from keras import ops

from mri_zoo.arguments import check_flags
from mri_zoo.layers.convnet import convolution
from mri_zoo.layers.unet import pad_and_crop

NUM_CONVOLUTIONS = (5, 11, 11, 7)  # of each scale, as published
NUM_EXCHANGES = 4  # of each scale with the next coarser one


@keras.saving.register_keras_serializable("mri_zoo")
class FocNet(keras.layers.Layer):
    """Residual convolutions with long memory, (batch, height, width, channels) to (..., `num_outputs`), any size.

    Each feature of a scale is a convolution with ReLU of the one before plus a weighted sum of all earlier ones: the
    discretised fractional differential equation. Four times, a scale sends its feature down to the next coarser one and
    convolves it together with what comes back; a learned switch scales what passes. Sizes that the scales do not divide
    are zero-padded and cropped back.

    Args:
        num_outputs: output channels.
        num_filters: channels of every feature.
        num_scales: 2 to 4, of which the published network has 4.
        beta: order of the differential equation, from which the weights of earlier features follow.
        batch_normalization: normalise between each convolution and its ReLU, as in the paper.

    Reference: Jia et al., CVPR 2019, by default without its batch normalisation, as the published weights of
    fastmri-reproducible-benchmark, whose weights of earlier features these are: they leave out the last one.
    """

    def __init__(self, num_outputs, num_filters=128, num_scales=4, beta=0.2, batch_normalization=False, **kwargs):
        super().__init__(**kwargs)
        if not 2 <= num_scales <= 4:
            raise ValueError(f"`num_scales` must be 2, 3 or 4, got {num_scales}.")
        check_flags(batch_normalization=batch_normalization)
        self.num_outputs, self.num_filters, self.num_scales, self.beta = num_outputs, num_filters, num_scales, beta
        self.batch_normalization = batch_normalization
        self.unpoolings = [
            [
                keras.layers.Conv2DTranspose(num_filters, 3, strides=2, padding="same", dtype=self.dtype_policy)
                for _ in range(NUM_EXCHANGES)
            ]
            for _ in range(num_scales - 1)
        ]
        self.switches = [
            # A middle scale receives from both sides.
            [self._switch(scale, i) for i in range(NUM_EXCHANGES * (1 if scale in (0, num_scales - 1) else 2))]
            for scale in range(num_scales)
        ]
        self.first = convolution(num_filters, dtype=self.dtype_policy)
        self.convolutions = [
            [convolution(num_filters, use_bias=False, dtype=self.dtype_policy) for _ in range(number)]
            for number in NUM_CONVOLUTIONS[:num_scales]
        ]
        self.norms = [
            [keras.layers.BatchNormalization(dtype=self.dtype_policy) for _ in range(number)]
            for number in NUM_CONVOLUTIONS[: num_scales if batch_normalization else 0]
        ]
        self.last = convolution(num_outputs, 1, dtype=self.dtype_policy)

    def _switch(self, scale, i):
        initializer = keras.initializers.Constant(2)  # open: the sigmoid is 0.88
        return self.add_weight(shape=(), initializer=initializer, name=f"switch_{scale}_{i}")

    def call(self, x):
        """Apply the network."""
        return pad_and_crop(self._correct, x, 2 ** (self.num_scales - 1))

    def _correct(self, x):
        features = [[] for _ in range(self.num_scales)]  # of each scale, oldest first
        unpoolings, switches = ([iter(layers) for layers in scales] for scales in (self.unpoolings, self.switches))

        def convolve(scale, *received):
            own = features[scale]
            i = len(own) - 1
            y = self.convolutions[scale][i](ops.concatenate([own[-1], *received], axis=-1) if received else own[-1])
            y = ops.relu(self.norms[scale][i](y) if self.norms else y)
            for weight, feature in zip(memory_weights(i, self.beta), own, strict=False):
                y = y + weight * feature
            own.append(y)

        def switch(scale, received):
            return received * ops.sigmoid(next(switches[scale]))

        def exchange(scale):
            coarser = scale + 1
            pooled = switch(coarser, ops.average_pool(features[scale][-1], 2, strides=2))
            if features[coarser]:
                convolve(coarser)
                convolve(coarser, pooled)
            else:
                features[coarser].append(pooled)
                convolve(coarser)
            if coarser < self.num_scales - 1:
                exchange(coarser)
            elif coarser < len(NUM_CONVOLUTIONS) - 1:  # the fourth scale sends back at once
                convolve(coarser)
            convolve(scale, switch(scale, next(unpoolings[scale])(features[coarser][-1])))

        features[0].append(self.first(x))
        convolve(0)
        for _ in range(NUM_EXCHANGES):
            exchange(0)
        return self.last(features[0][-1])

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "num_filters": self.num_filters,
            "num_scales": self.num_scales,
            "beta": self.beta,
            "batch_normalization": self.batch_normalization,
        }


def memory_weights(num_features, beta):
    """Weights of `num_features` features (of one, if there is none yet), oldest first."""
    weights = [beta]
    for age in range(2, num_features + 1):
        weights.append((1 - (1 + beta) / age) * weights[-1])
    return weights[::-1]
