"""DIRECT's networks and the losses of its joint training as PyTorch in double precision, from their papers' formulas.

Gradients jump at the kinks of (leaky) ReLUs, and in single precision each processor has its own side of an input of
about zero. Here every activation can be smooth, and ours with the same smooth activations has the same gradients. With
the true activations the same functions are compared with the recordings.
"""

import functools

import numpy as np
import torch
from torch.nn import functional

from mri_zoo.losses import laplacian_of_gaussian


def leaky_relu(x, slope):
    return torch.where(x > 0, x, slope * x)


def smooth_leaky_relu(x, slope):
    return slope * x + (1 - slope) * functional.softplus(x)


def double(array):
    array = np.asarray(array)
    return torch.tensor(array.astype("complex128" if np.iscomplexobj(array) else "float64"))


def fft2c(x):
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


def ifft2c(x):
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(x, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


def combine(coils, maps):
    return torch.sum(maps.conj() * coils, dim=1)


class Direct:
    """The networks of a checkpoint: `weights` is a dict from DIRECT's names, without `model.`, to arrays."""

    def __init__(self, weights, activation=leaky_relu):
        self.weights = {name: double(array).requires_grad_() for name, array in weights.items()}
        self.activation = activation

    def _count(self, prefix):
        names = (name.removeprefix(prefix) for name in self.weights if name.startswith(prefix))
        return len({name.partition(".")[0] for name in names})

    def unet(self, prefix, *images):
        """Complex images (batch, height, width) to one; sizes are multiples of 2 to the power of its scales."""

        def chain(x, layer, *names):
            for name in names:
                x = functional.instance_norm(layer(x, self.weights[f"{prefix}{name}"]))
                x = self.activation(x, 0.2)
            return x

        def block(x, name):
            convolve = functools.partial(functional.conv2d, padding=1)
            return chain(x, convolve, f"{name}.layers.0.weight", f"{name}.layers.4.weight")

        x = torch.stack([part for image in images for part in (image.real, image.imag)], dim=1)
        pools, skips = self._count(f"{prefix}up_transpose_conv."), []
        for i in range(pools):
            skips.append(block(x, f"down_sample_layers.{i}"))
            x = functional.avg_pool2d(skips[-1], 2)
        x = block(x, "conv")
        for i in range(pools):
            upward = functools.partial(functional.conv_transpose2d, stride=2)
            x = chain(x, upward, f"up_transpose_conv.{i}.layers.0.weight")
            x = block(torch.cat([x, skips.pop()], dim=1), f"up_conv.{i}" if i < pools - 1 else f"up_conv.{i}.0")
        last = f"{prefix}up_conv.{pools - 1}.1"
        x = functional.conv2d(x, self.weights[f"{last}.weight"], self.weights[f"{last}.bias"])
        return torch.complex(x[:, 0], x[:, 1])

    def norm_unet(self, prefix, image):
        """The same on an image whose parts have mean 0 and deviation 1; sizes are multiples of 16."""
        parts = torch.view_as_real(image)
        mean, deviation = (size(parts, dim=(1, 2), keepdim=True) for size in (torch.mean, torch.std))
        image = torch.view_as_complex((parts - mean) / deviation)
        return torch.view_as_complex(torch.view_as_real(self.unet(prefix, image)) * deviation + mean)

    def refined(self, maps):
        """Sensitivity maps after their network."""
        maps = self.unet("sensitivity_model.", maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        return maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)

    def multipliers(self, image, dilations=(1, 1, 2, 4)):
        """What vSHARP's Lagrange multipliers begin with, from its first image."""
        x = torch.stack([image.real, image.imag], dim=1)
        for i, dilation in enumerate(dilations):
            x = functional.pad(x, [dilation] * 4, mode="replicate")
            name = f"initializer.conv_blocks.{i}.1"
            x = functional.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], dilation=dilation)
            x = self.activation(x, 0.0)
        name = "initializer.out_block.0"
        x = functional.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
        x = self.activation(x, self.weights["initializer.activation.weight"])
        return torch.complex(x[:, 0], x[:, 1])

    def vsharp(self, kspace, mask, maps, image_start="sense"):
        """The image of each of vSHARP's iterations."""
        measured, images = combine(ifft2c(kspace), maps), []
        image = measured if image_start == "sense" else torch.sum(ifft2c(kspace), dim=1)
        denoised, multipliers = image, self.multipliers(image)
        for i, penalty in enumerate(self.weights["rho"]):
            denoised = self.unet(f"denoiser_blocks.{i}.", denoised, image, multipliers / penalty)
            for step_size in self.weights["learning_rate_eta"]:
                gradient = combine(ifft2c(mask * fft2c(maps * image[:, None])), maps) - measured
                image = image - step_size * (gradient + penalty * (image - denoised) + multipliers)
            images.append(image)
            multipliers = multipliers + penalty * (image - denoised)
        return images

    def varnet(self, kspace, mask, maps):
        """The end-to-end variational network's k-space of every coil, which its engine trains."""
        predicted = kspace
        for i in range(self._count("layers_list.")):
            correction = self.unet(f"layers_list.{i}.regularizer_model.", combine(ifft2c(predicted), maps))
            error = mask * (predicted - kspace)
            step_size = self.weights[f"layers_list.{i}.learning_rate"]
            predicted = predicted - step_size * error + fft2c(maps * correction[:, None])
        return predicted


def expand(image, maps):
    """The full k-space of every coil, of which a network that gives images is judged."""
    return fft2c(maps * image[:, None])


def joint_losses(outputs, maps, batch, target, consistent, every_step=True):
    """The six losses of a training step of SSL or JSSL, weighted, and the image that the last output is judged by.

    Args:
        outputs: pairs of an image and of a full k-space of every coil, one for each step of a network.
        maps: the sensitivity maps of the network.
        batch: as `JointTraining` takes it, of tensors.
        target: image, of the size that images are cropped to.
        consistent: the image is that of the k-space that keeps the measured samples (projected to the target).
        every_step: judge k-space after each step, else after the last alone.
    """
    total, weights = [0.0] * 6, np.logspace(-1, 0, len(outputs)) if len(outputs) > 1 else [1.0]
    for i, (image, kspace) in enumerate(outputs):
        kspace = (batch["kspace"] + (1 - batch["mask"]) * kspace) * batch["target_mask"]
        image = torch.abs(combine(ifft2c(kspace), maps) if consistent else image)
        top, left = ((have - want) // 2 for have, want in zip(image.shape[1:], target.shape[1:], strict=True))
        cropped = image[:, top : top + target.shape[1], left : left + target.shape[2]]
        losses = [*image_losses(cropped, target)]
        if every_step or i == len(outputs) - 1:
            losses += kspace_losses(kspace, batch["target_kspace"])
        for j, loss in enumerate(losses):
            total[j] += weights[i] * loss
    return total, image


def image_losses(image, target):
    """The default image losses of JSSL, weighted: L1, SSIM, and the high-frequency errors in the L1 and L2 norm."""
    kernel = double(laplacian_of_gaussian(15, 2.5))[None, None]
    error = functional.conv2d((image - target)[:, None], kernel, padding=7)
    yield 2 * torch.mean(torch.abs(image - target))
    yield 2 * (1 - similarity(image, target))
    yield torch.mean(torch.abs(error)) / torch.mean(torch.abs(target))
    yield torch.mean(error**2) / torch.mean(target**2)


def similarity(image, target, side=7):
    def mean(x):
        return functional.avg_pool2d(x[:, None], side, 1)

    unbiased, (k1, k2) = side**2 / (side**2 - 1), (0.01, 0.03)
    c1, c2 = (k1 * target.max()) ** 2, (k2 * target.max()) ** 2
    means = mean(image), mean(target)
    variances = [unbiased * (mean(x**2) - m**2) for x, m in zip((image, target), means, strict=True)]
    covariance = unbiased * (mean(image * target) - means[0] * means[1])
    luminance = (2 * means[0] * means[1] + c1) / (means[0] ** 2 + means[1] ** 2 + c1)
    return torch.mean(luminance * (2 * covariance + c2) / (variances[0] + variances[1] + c2))


def kspace_losses(kspace, target):
    """The default k-space losses of JSSL, weighted."""
    error, target = torch.view_as_real(kspace - target), torch.view_as_real(target)
    yield 2 * torch.sum(torch.abs(error)) / torch.sum(torch.abs(target))
    yield 2 * torch.sum(error**2) / torch.sum(target**2)
