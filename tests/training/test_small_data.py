from dataclasses import replace

import pytest

from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.training.small_data import changes_text, fit_to_data, warmup_warning

CONFIG = TrainConfig(
    optimizer=OptimizerConfig(warmup_steps=200),
    train=LoopConfig(epochs=40, batch_size=32, fit_to_data=True),
)


@pytest.mark.parametrize(
    ("images", "batch", "warmup"),
    [
        (3060, 32, 190),  # 95 steps an epoch
        (4000, 32, 200),
        (256, 32, 16),  # 8 steps an epoch
        (255, 16, 30),
        (100, 8, 24),
        (38, 8, 8),
        (5, 4, 2),
    ],
)
def test_the_rule(images, batch, warmup):
    fitted = fit_to_data(CONFIG, images, device_count=1)
    assert (fitted.train.batch_size, fitted.optimizer.warmup_steps) == (batch, warmup)
    assert fit_to_data(fitted, images, device_count=1) == fitted
    rest = replace(fitted, train=CONFIG.train, optimizer=CONFIG.optimizer)
    assert rest == CONFIG


def test_a_batch_stays_a_multiple_of_the_devices():
    assert fit_to_data(CONFIG, 38, device_count=8).train.batch_size == 8
    assert fit_to_data(CONFIG, 100, device_count=16).train.batch_size == 16


def test_only_where_it_is_asked_for():
    config = replace(CONFIG, train=replace(CONFIG.train, fit_to_data=False))
    assert fit_to_data(config, 38, device_count=1) == config


def test_what_is_changed_is_said():
    fitted = fit_to_data(CONFIG, 38, device_count=1)
    assert changes_text(CONFIG, fitted, 38) == (
        "for 38 training images: train.batch_size 8 in place of 32, optimizer.warmup_steps 8 in "
        "place of 200 (train.fit_to_data)"
    )
    assert changes_text(CONFIG, CONFIG, 4000) is None


def test_a_warm_up_of_more_than_half_of_the_run_is_warned_of():
    warning = warmup_warning(CONFIG, 38)
    assert warning is not None
    assert "warmup_steps = 200, and the run has 40 steps (1 an epoch of 38 training" in warning
    assert warmup_warning(CONFIG, 32 * 10) is None  # 200 of 400 steps
