"""XPDNet: primal-dual iterations whose image network is any denoiser."""

import keras
from keras import ops

from mri_zoo.arguments import check_counts, check_flags
from mri_zoo.layers.mwcnn import MWCNN
from mri_zoo.layers.nested import copies, serialized
from mri_zoo.layers.unet import pad_and_crop
from mri_zoo.models.base import require_grid
from mri_zoo.models.primal_dual import PrimalDualModel, add


@keras.saving.register_keras_serializable("mri_zoo")
class XPDNet(PrimalDualModel):
    """Primal-dual network of the second place in the fastMRI challenge of 2020: a large denoiser corrects the images.

    With an image buffer x of `num_primal` complex channels, each iteration computes::

        x <- x + net([x, A^H (A x_0 - y)])

    and the buffer begins with copies of A^H y. A `kspace_network` gives a buffer h of `num_dual` channels, begun with
    copies of y, in place of the residual: ``h <- h + net_dual([h, A x_0, y])``.

    Args:
        image_network: layer from 2 x (`num_primal` + 1) to 2 x `num_primal` real channels, a template: each iteration
            has a network like it. By default `MWCNN` with half the filters of its paper. A U-net makes this the UPDNet;
            the predecessor's other networks are `DIDN`, `FocNet` and DnCNN (`ConvNet`).
        kspace_network: the same for k-space, 2 x (`num_dual` + 2) to 2 x `num_dual` channels, which sees each coil on
            its own; None for no network and buffer (`LPDNet` has ``num_dual=0`` for that, and a network by default).
            The predecessor's dual variants have ``ConvNet(2 * num_dual, 16)``, and UPDNet a U-net.
        num_iterations: unrolled iterations.
        num_primal: complex channels of the image buffer.
        num_dual: complex channels of the k-space buffer, where there is a `kspace_network`.
        residual: add the image network's output to the buffer; False replaces the buffer, as published with `FocNet`.
        pad_multiple: images are zero-padded to multiples of this for the image network. It changes the numbers near
            the edges: the predecessor pads to ``2**(scales + 1)`` for `MWCNN` and `DIDN`, ``2**scales`` for the U-net
            and `FocNet`; in UPDNet, 1.
        refiner_filters: channels of each scale of the U-net that refines the sensitivity maps of multi-coil data; the
            larger one of the challenge had (8, 16, 32, 64). None for no refinement.
        physics: the acquisition.

    Reference: Ramzi et al., ISMRM 2021, arXiv:2010.07290; Ramzi, thesis, section 5.1. Here 155,536,508 parameters.
    """

    def __init__(
        self,
        image_network=None,
        kspace_network=None,
        num_iterations=25,
        num_primal=5,
        num_dual=1,
        residual=True,
        pad_multiple=16,
        refiner_filters=(4, 8, 16),
        **kwargs,
    ):
        super().__init__(num_iterations, num_primal, num_dual, refiner_filters, **kwargs)
        check_counts(pad_multiple=pad_multiple)
        check_flags(residual=residual)
        self.residual, self.pad_multiple = residual, pad_multiple
        if kspace_network is not None:
            require_grid(self.physics, "XPDNet with `kspace_network`")
        if image_network is None:
            image_network = MWCNN(2 * num_primal, (64, 128, 256), num_first_convolutions=2, first_filters=32)
        self.primal_nets = copies("image_network", image_network, num_iterations, self.dtype_policy, 2 * num_primal)
        self.dual_nets = []
        if kspace_network is not None:
            self.dual_nets = copies("kspace_network", kspace_network, num_iterations, self.dtype_policy, 2 * num_dual)

    def update_primal(self, i, primal, inputs):
        """The image buffer after iteration i, from the one before and the input of the network."""
        update = pad_and_crop(self.primal_nets[i], inputs, self.pad_multiple)
        return add(primal, update) if self.residual else ops.cast(update, "float32")

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "image_network": serialized(self.primal_nets[0]),
            "kspace_network": serialized(self.dual_nets[0]) if self.dual_nets else None,
            "residual": self.residual,
            "pad_multiple": self.pad_multiple,
        }
