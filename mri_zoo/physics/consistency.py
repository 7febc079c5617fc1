"""Data consistency: four ways to pull an estimate back to what was measured.

`kspace` and `measured` are (batch, coil, height, width) complex64, `mask` (batch, 1, 1 or height, width), images
(batch, height, width) complex64. The last two forms see k-space by way of A^H y and A^H A alone, so they suit any
acquisition; A^H y is given, that it is computed once for all steps of a network.
"""

from keras import ops

from mri_zoo.physics.complex import from_real, scale


def replace_measured(kspace, measured, mask):
    """Hard replacement, ``(1 - M) k + y``: sampled positions become the measurement (Schlemper et al., noiseless)."""
    return scale(kspace, 1 - mask) + measured


def blend_measured(kspace, measured, mask, weight):
    """Soft replacement, ``k + w (y - M k)``, with a (learned) real weight; w = 1 is `replace_measured`."""
    return kspace + scale(measured - scale(kspace, mask), weight)


def gradient_step(image, adjoint, batch, physics, step_size):
    """One gradient step on ``|A x - y|^2 / 2``: ``x - s (A^H A x - A^H y)``, where `adjoint` is A^H y."""
    return image - scale(physics.normal(image, batch) - adjoint, step_size)


def conjugate_gradient(image, adjoint, batch, physics, weight, num_steps, start=None):
    """Conjugate gradients for ``(A^H A + w I) x = A^H y + w z``: the proximal step of MoDL.

    Args:
        image: z, (batch, height, width) complex64.
        adjoint: A^H y, the same shape.
        batch: of the measurements, for A.
        physics: gives `normal`, A^H A.
        weight: w > 0, real number or tensor.
        num_steps: steps taken, at least 1.
        start: the first x, z by default.

    Returns:
        x, differentiable in z and in w.

    Reference: Aggarwal et al., MoDL, IEEE TMI 38:394, 2019, equation 9.
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be >= 1, got {num_steps}.")
    weight = ops.cast(weight, "float32")
    x = image if start is None else start
    # The right-hand side minus the operator at x; the weighted terms cancel at z.
    residual = adjoint - physics.normal(x, batch)
    if start is not None:
        residual = residual + scale(image - start, weight)
    direction, energy = residual, _energy(residual)
    for _ in range(num_steps):
        curved = physics.normal(direction, batch) + scale(direction, weight)
        step = _ratio(energy, _inner(direction, curved))
        x = x + direction * step
        residual = residual - curved * step
        energy, previous = _energy(residual), energy
        direction = residual + direction * _ratio(energy, previous)
    return x


def _ratio(numerator, denominator):
    """Their quotient as a complex factor per batch entry; 0 where the denominator vanished: converged."""
    safe = ops.where(denominator > 0, denominator, 1.0)
    return from_real(ops.where(denominator > 0, numerator / safe, 0.0))


def _inner(x, y):
    """Real part of <x, y> over all but the batch axis, kept for broadcasting."""
    axes = tuple(range(1, len(x.shape)))
    return ops.sum(ops.real(x) * ops.real(y) + ops.imag(x) * ops.imag(y), axis=axes, keepdims=True)


def _energy(x):
    return _inner(x, x)
