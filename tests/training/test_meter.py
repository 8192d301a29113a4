import jax
import jax.numpy as jnp
import pytest

from zfnet_jax.config import LoopConfig
from zfnet_jax.training import metrics
from zfnet_jax.training.display import Display
from zfnet_jax.training.meter import Meter
from zfnet_jax.training.metrics import MetricsLog


def meter(log: MetricsLog) -> Meter:
    display = Display(0, 8, active=False)
    return Meter(log, display, LoopConfig(batch_size=8, log_steps=3), epoch_steps=10)


def values(step: int, finite: bool = True) -> dict[str, jax.Array]:
    numbers = {"loss": float(step), "top1": step / 10, "top5": 0.9, "learning_rate": 0.1 * step}
    return {name: jnp.float32(value) for name, value in numbers.items()} | {
        "finite": jnp.bool_(finite)
    }


def test_the_meter_averages_the_steps_since_the_last_line(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        averages = meter(log)
        for step in range(1, 9):
            averages.add(step, values(step))
        averages.flush()
        averages.flush()  # There is nothing left to write.
    lines = metrics.read(tmp_path)
    assert [line["step"] for line in lines] == [3, 6, 8]
    assert [line["loss"] for line in lines] == pytest.approx([2.0, 5.0, 7.5])
    assert [line["top1"] for line in lines] == pytest.approx([0.2, 0.5, 0.75])
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.3, 0.6, 0.8])
    assert [line["epoch"] for line in lines] == [0.3, 0.6, 0.8]
    assert all(line["images_per_second"] > 0 for line in lines)
    assert {line["split"] for line in lines} == {"train"}


def test_what_is_not_finite_stops_the_run_by_its_step(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        averages = meter(log)
        averages.add(1, values(1))
        averages.add(2, values(2, finite=False))
        with pytest.raises(ValueError, match="not finite at step 2"):
            averages.flush()
