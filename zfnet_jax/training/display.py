"""What a person sees of a training run that is under way."""

from tqdm import tqdm

from zfnet_jax.core.progress import Reporter, on_terminal


class Display:
    """A progress bar on a terminal; elsewhere a line at least every ten seconds of training.

    A context manager.
    """

    def __init__(self, step: int, last_step: int, *, active: bool = True) -> None:
        """Shows a run that stands at a step.

        Args:
          step: how many updates there have been.
          last_step: the step that the run ends at.
          active: whether to show anything; of several processes only one does.
        """
        self._active, self._last_step = active, last_step
        self._bar = tqdm(
            total=last_step, initial=step, disable=not (active and on_terminal()), unit="step"
        )
        self._reporter = Reporter()

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if not self._bar.disable:
            self._bar.write(line)
        elif self._active:
            self._reporter.say(line)

    def working_on(self, what: str) -> None:
        """Names what takes a while before the next step."""
        if not self._bar.disable:
            self._bar.set_postfix_str(what)
        elif self._active:
            self._reporter.say(what)

    def step(self, step: int, loss: float, top1: float, speed: float) -> None:
        """Shows a step.

        Args:
          step: its number.
          loss: its loss.
          top1: its top-1 accuracy, 0..1.
          speed: images a second.
        """
        text = f"loss {loss:.3f}, top-1 {top1:.0%}, {speed:.0f} images/s"
        if not self._bar.disable:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
        elif self._active:
            self._reporter.maybe_say(lambda: f"step {step} of {self._last_step}: {text}")
