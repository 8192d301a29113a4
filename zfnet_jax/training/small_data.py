"""Batch size and warm-up for data sets that are small."""

from dataclasses import replace

from zfnet_jax.config import TrainConfig

EPOCH_STEPS, SMALLEST_BATCH, WARMUP_EPOCHS = 8, 8, 2


def fit_to_data(config: TrainConfig, images: int, device_count: int) -> TrainConfig:
    """The configuration with a batch size and a warm-up that suit the size of the training set.

    Only where `train.fit_to_data` asks for it. The batch is halved until an epoch has 8 steps or
    the batch 8 images (fewer where the whole set has fewer), and the warm-up lasts 2 epochs at
    most.

    Args:
      config: the configuration.
      images: how many training images there are.
      device_count: how many devices share a batch, which stays a multiple of it.

    Returns:
      The configuration, which is the same for a large data set.
    """
    if not config.train.fit_to_data:
        return config
    batch = config.train.batch_size
    while batch % (2 * device_count) == 0 and (
        batch > images or (batch > SMALLEST_BATCH and images // batch < EPOCH_STEPS)
    ):
        batch //= 2
    warmup = min(config.optimizer.warmup_steps, WARMUP_EPOCHS * (images // batch))
    return replace(
        config,
        train=replace(config.train, batch_size=batch),
        optimizer=replace(config.optimizer, warmup_steps=warmup),
    )


def changes_text(config: TrainConfig, fitted: TrainConfig, images: int) -> str | None:
    """What `fit_to_data` changed, in one line; None where it changed nothing."""
    values = (
        ("train.batch_size", config.train.batch_size, fitted.train.batch_size),
        (
            "optimizer.warmup_steps",
            config.optimizer.warmup_steps,
            fitted.optimizer.warmup_steps,
        ),
    )
    changes = [f"{name} {new} in place of {old}" for name, old, new in values if new != old]
    if not changes:
        return None
    return f"for {images} training images: {', '.join(changes)} (train.fit_to_data)"


def warmup_warning(config: TrainConfig, images: int) -> str | None:
    """What to change where the warm-up takes more than half of the run; None where it does not."""
    epoch_steps = images // config.train.batch_size
    steps, warmup = config.train.epochs * epoch_steps, config.optimizer.warmup_steps
    if 2 * warmup <= steps or not steps:  # without one whole batch, the run is refused
        return None
    return (
        f"warning: the learning rate rises during optimizer.warmup_steps = {warmup}, and the run "
        f"has {steps} steps ({epoch_steps} an epoch of {images} training images); expected at most "
        "half of them; --train.fit-to-data sets the batch size and the warm-up"
    )
