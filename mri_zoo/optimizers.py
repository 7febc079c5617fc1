"""Rectified Adam, as the published trainings of the TensorFlow codes use it.

TensorFlow Addons, where it came from, was archived in 2024 and does not import on TensorFlow 2.16 and later.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mri_zoo")
class RectifiedAdam(keras.optimizers.Optimizer):
    """Adam whose adaptive step is left out while its variance is unknown, with TensorFlow Addons' arguments.

    With `total_steps` the rate is a `WarmupLinearDecay`, which callbacks cannot change. Weight decay is decoupled and
    follows that rate: every step takes `rate * weight_decay * w` off a weight `w`, as in TensorFlow Addons. It is
    Keras's own, so `exclude_from_weight_decay` works.

    Args:
        learning_rate: a float or a Keras schedule; with `total_steps` the highest rate, a float.
        beta_1: decay of the mean of the gradient.
        beta_2: decay of the mean of its square.
        epsilon: added to the square root of the latter.
        weight_decay: decoupled weight decay, before multiplication by the learning rate.
        amsgrad: divide by the largest second moment so far.
        sma_threshold: least length of the simple moving average (equation 4 of the paper) for an adaptive step; at
            least 4, where the rectification begins to exist.
        total_steps: steps of warm-up and decay together; 0 for a constant rate. Gradient accumulation counts batches.
        warmup_proportion: part of `total_steps` in which the rate rises from 0.
        min_lr: rate at the end of the decay and after it.
        name: name of the optimizer.
        **kwargs: those of every Keras optimizer: `clipnorm` (per variable), `global_clipnorm`, `clipvalue`, `use_ema`,
            `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`, `gradient_accumulation_steps`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> model.compile(RectifiedAdam(1e-3, total_steps=10_000, warmup_proportion=0.1, min_lr=1e-5), loss="mae")

    Reference: Liu et al., ICLR 2020, https://arxiv.org/abs/1908.03265.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        weight_decay=0.0,
        amsgrad=False,
        sma_threshold=5.0,
        total_steps=0,
        warmup_proportion=0.1,
        min_lr=0.0,
        name="rectified_adam",
        **kwargs,
    ):
        if not (0 <= beta_1 < 1 and 0 < beta_2 < 1):
            raise ValueError(f"`beta_1` must be in [0, 1) and `beta_2` in (0, 1), got {beta_1} and {beta_2}.")
        if sma_threshold < 4:
            raise ValueError(f"`sma_threshold` must be >= 4, below which steps would be NaN, got {sma_threshold}.")
        if weight_decay is not None and weight_decay < 0:
            raise ValueError(f"`weight_decay` must be >= 0, got {weight_decay}.")
        schedule = WarmupLinearDecay(learning_rate, total_steps, warmup_proportion, min_lr) if total_steps else None
        # Warm-up inside `update_step`, as in TensorFlow Addons, would not reach the weight decay of Keras.
        super().__init__(
            learning_rate=schedule or learning_rate, weight_decay=weight_decay or None, name=name, **kwargs
        )
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.amsgrad, self.sma_threshold = amsgrad, sma_threshold
        self.total_steps, self.warmup_proportion, self.min_lr = total_steps, warmup_proportion, min_lr

    def build(self, variables):
        """Create both moments of every variable, and the largest second one with `amsgrad`."""
        if self.built:
            return
        super().build(variables)
        self._means, self._squares = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        if self.amsgrad:
            self._largest_squares = self.add_optimizer_variables(variables, "velocity_hat")

    def update_step(self, gradient, variable, learning_rate):
        """One step of one variable."""
        dtype, index = variable.dtype, self._get_variable_index(variable)
        gradient, rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        beta_1, beta_2 = ops.cast(self.beta_1, dtype), ops.cast(self.beta_2, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        beta_2_power = ops.power(beta_2, step)

        mean, square = self._means[index], self._squares[index]
        self.assign(mean, beta_1 * mean + (1 - beta_1) * gradient)
        self.assign(square, beta_2 * square + (1 - beta_2) * ops.square(gradient))
        if self.amsgrad:
            largest = self._largest_squares[index]
            self.assign(largest, ops.maximum(largest, square))
            square = largest
        unbiased_mean = mean / (1 - ops.power(beta_1, step))
        deviation = ops.sqrt(square / (1 - beta_2_power))

        sma_limit = 2 / (1 - beta_2) - 1
        sma = sma_limit - 2 * step * beta_2_power / (1 - beta_2_power)
        # Not a number where the average is shorter than 4, and not chosen there.
        rectification = ops.sqrt((sma - 4) / (sma_limit - 4) * (sma - 2) / (sma_limit - 2) * sma_limit / sma)
        adaptive = rectification * unbiased_mean / (deviation + self.epsilon)
        self.assign_sub(variable, rate * ops.where(sma >= self.sma_threshold, adaptive, unbiased_mean))

    def get_config(self):
        """Constructor arguments, as given."""
        config = {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "weight_decay": self.weight_decay or 0.0,
            "amsgrad": self.amsgrad,
            "sma_threshold": self.sma_threshold,
            "total_steps": self.total_steps,
            "warmup_proportion": self.warmup_proportion,
            "min_lr": self.min_lr,
        }
        if self.total_steps:
            config["learning_rate"] = self._learning_rate.learning_rate
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("mri_zoo")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises linearly from 0, then falls linearly, then stays.

    Args:
        learning_rate: highest rate, a float.
        total_steps: steps of warm-up and decay together.
        warmup_proportion: part of `total_steps` in which the rate rises.
        min_lr: rate at `total_steps` and after.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, learning_rate, total_steps, warmup_proportion=0.1, min_lr=0.0):
        if not isinstance(learning_rate, int | float):
            raise ValueError(f"With `total_steps`, `learning_rate` must be a number, got {learning_rate}.")
        if total_steps < 1 or not 0 <= warmup_proportion <= 1:
            raise ValueError(
                "`total_steps` must be positive and `warmup_proportion` in [0, 1], "
                f"got {total_steps} and {warmup_proportion}."
            )
        self.learning_rate, self.total_steps = learning_rate, total_steps
        self.warmup_proportion, self.min_lr = warmup_proportion, min_lr

    def __call__(self, step):
        """Rate of a step, counted from 0."""
        step = ops.cast(step, keras.config.floatx()) + 1
        warmup_steps = self.total_steps * self.warmup_proportion
        decay_steps = max(self.total_steps - warmup_steps, 1)
        fall = (self.min_lr - self.learning_rate) / decay_steps
        decaying = self.learning_rate + fall * ops.minimum(step - warmup_steps, decay_steps)
        rising = self.learning_rate * step / max(warmup_steps, 1)
        return ops.where(step <= warmup_steps, rising, decaying)

    def get_config(self):
        """Constructor arguments."""
        return {
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "warmup_proportion": self.warmup_proportion,
            "min_lr": self.min_lr,
        }


@keras.saving.register_keras_serializable("mri_zoo")
class WarmupStepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises linearly from a part of it, and falls by a factor after every so many steps.

    Args:
        learning_rate: highest rate, a float.
        warmup_steps: steps of the rise; 0 for none.
        warmup_start: the rate of the first step, as a part of the highest.
        decay_steps: steps between two falls.
        decay: factor of each fall.

    Raises:
        ValueError: if an argument is out of range.

    Reference: `WarmupMultiStepLR` of github.com/NKI-AI/direct, with the numbers of its projects/JSSL.
    """

    def __init__(self, learning_rate, warmup_steps=3000, warmup_start=1 / 3, decay_steps=150_000, decay=0.8):
        if not (learning_rate > 0 and decay > 0 and 0 <= warmup_start <= 1):
            raise ValueError(
                "`learning_rate` and `decay` must be positive and `warmup_start` in [0, 1], "
                f"got {learning_rate}, {decay} and {warmup_start}."
            )
        if warmup_steps < 0 or decay_steps < 1:
            raise ValueError(f"`warmup_steps` must be >= 0 and `decay_steps` >= 1, got {warmup_steps}, {decay_steps}.")
        self.learning_rate, self.warmup_steps, self.warmup_start = learning_rate, warmup_steps, warmup_start
        self.decay_steps, self.decay = decay_steps, decay

    def __call__(self, step):
        """Rate of a step, counted from 0."""
        step = ops.cast(step, keras.config.floatx())
        risen = ops.minimum(step / max(self.warmup_steps, 1), 1.0) if self.warmup_steps else 1.0
        falls = ops.floor(step / self.decay_steps)
        return self.learning_rate * (self.warmup_start + (1 - self.warmup_start) * risen) * self.decay**falls

    def get_config(self):
        """Constructor arguments."""
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "warmup_start": self.warmup_start,
            "decay_steps": self.decay_steps,
            "decay": self.decay,
        }
