"""The metrics of training steps, averaged over several steps into lines of the log."""

import time

from jax import Array

from zfnet_jax.config import LoopConfig
from zfnet_jax.training.display import Display
from zfnet_jax.training.metrics import MetricsLog


class Meter:
    """Averages the metrics of training steps into lines of the log.

    A step's metrics are read when the next step has been started, so that reading them does not
    keep the device waiting.
    """

    def __init__(
        self, log: MetricsLog, display: Display, loop: LoopConfig, epoch_steps: int
    ) -> None:
        self._log, self._display = log, display
        self._loop, self._epoch_steps = loop, epoch_steps
        self._pending: tuple[int, dict[str, Array]] | None = None
        self._window: list[dict[str, float]] = []
        self._since = time.perf_counter()
        self.speed = 0.0

    def add(self, step: int, values: dict[str, Array]) -> None:
        """Takes the metrics of a step that may still be computing.

        Raises:
          ValueError: the loss, the gradients or the parameters of the step before are not finite.
        """
        self._settle()
        self._pending = (step, values)

    def flush(self) -> None:
        """Waits for the newest step, and writes the line that it belongs to."""
        step = self._settle()
        if step is not None and self._window:
            self._write(step)

    def restart_clock(self) -> None:
        """Leaves the time since the last line, of validation or saving, out of the speed."""
        self._since = time.perf_counter()

    def _settle(self) -> int | None:
        if self._pending is None:
            return None
        step, values = self._pending
        self._pending = None
        numbers = {name: float(value) for name, value in values.items()}
        if not numbers.pop("finite"):
            raise ValueError(
                f"loss, gradients or parameters are not finite at step {step} (loss "
                f"{numbers['loss']}): expected numbers; nothing of it was saved, another run with "
                "a lower optimizer.learning_rate may help"
            )
        self._window.append(numbers)
        self._display.step(step, numbers["loss"], numbers["top1"], self._speed_now())
        if step % self._loop.log_steps == 0:
            self._write(step)
        return step

    def _speed_now(self) -> float:
        """Images a second of the last line; before the first line, of the steps since the start."""
        return self.speed or self._speed_since(time.perf_counter())

    def _speed_since(self, now: float) -> float:
        return len(self._window) * self._loop.batch_size / (now - self._since)

    def _write(self, step: int) -> None:
        now = time.perf_counter()
        self.speed = self._speed_since(now)
        self._since = now
        means = {
            name: sum(values[name] for values in self._window) / len(self._window)
            for name in ("loss", "top1", "top5")
        }
        self._log.write(
            "train",
            step,
            step / self._epoch_steps,
            {
                **means,
                "learning_rate": self._window[-1]["learning_rate"],
                "images_per_second": round(self.speed, 2),
            },
        )
        self._window = []
