"""A training run between two steps, and the loop over the steps.

`TrainingRun` keeps the state and does all that is done between steps: metrics, validation and
checkpoints. `fit` makes the steps of one run, `experiments.ensemble` those of several at once.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax import Array

from zfnet_jax.config import TrainConfig
from zfnet_jax.core import devices, signals
from zfnet_jax.data.pipeline import Batch, train_batches
from zfnet_jax.networks.net import Net
from zfnet_jax.training import checkpoint, optimizer
from zfnet_jax.training.checkpoint import Checkpoints, Progress
from zfnet_jax.training.display import Display
from zfnet_jax.training.evaluation import evaluate, predictor
from zfnet_jax.training.meter import Meter
from zfnet_jax.training.metrics import MetricsLog, accuracies_text
from zfnet_jax.training.run_folder import keep_snapshot, locked
from zfnet_jax.training.setup import RunSetup, set_up
from zfnet_jax.training.step import compile_step, make_train_step


class TrainingRun:
    """A run between two steps; a context manager, which `open_run` makes.

    Attributes:
      config: the configuration of the run.
      setup: what it computes with.
      state: the state after `step` updates. The caller makes the updates and replaces it before it
        calls `validate` or `save`.
      step: how many updates there have been.
    """

    def __init__(self, config: TrainConfig, run: Path, others: Sequence[RunSetup] = ()) -> None:
        """Sets a run up, from the start or from where it stopped.

        Args:
          config: the configuration of the run.
          run: its folder, which may hold an earlier part of the same run.
          others: as for `set_up`.
        """
        self._run = run
        self.setup, self.state = set_up(config, run, others)
        self.config = self.setup.config
        self.step = int(self.state.step)
        self._predict = predictor(self.setup.model, self.setup.preprocessing, self.setup.mesh)

    def __enter__(self) -> "TrainingRun":
        loop, setup = self.config.train, self.setup
        with contextlib.ExitStack() as stack:
            first = devices.is_first_process()
            self._checkpoints = stack.enter_context(Checkpoints(self._run, loop.keep))
            self._log = stack.enter_context(MetricsLog(self._run, self.step, active=first))
            self._display = stack.enter_context(Display(self.step, setup.last_step, active=first))
            self._opened = stack.pop_all()
        self._meter = Meter(self._log, self._display, loop, setup.epoch_steps)
        self._validated_epochs = int(optimizer.rate_state(self.state.opt_state).epochs)
        self._saved_step = self.step
        if self.step < setup.last_step:
            self._display.working_on("compiling the training step")
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def batches(self) -> Iterator[Batch]:
        """The batches of the steps to come."""
        return train_batches(
            self.setup.train,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
            first_step=self.step,
            balanced=self.config.data.balanced,
            threads=self.config.data.threads,
            rows=self.setup.rows,
        )

    def note(self, values: dict[str, Array]) -> None:
        """Counts an update and takes its metrics.

        Args:
          values: the metrics of the step, which may still be computing.

        Raises:
          ValueError: loss, gradients or parameters of the update before are not finite.
        """
        self.step += 1
        self._meter.add(self.step, values)

    @property
    def awaits_validation(self) -> bool:
        """Whether the next thing to do is to validate, which may be so right after a resume.

        Nothing is left to do in a finished run, and its last checkpoint stays as it is.
        """
        if self.step >= self.setup.last_step:
            return not self._checkpoints.is_validated(self.step)
        return self._validated_epochs < self.step // self.setup.epoch_steps

    def validate(self) -> None:
        """Validates, lowers the rate where the error has stopped falling, and saves.

        Raises:
          ValueError: the validation loss is not finite.
          OSError: the checkpoint could not be written.
        """
        loop, epoch_steps = self.config.train, self.setup.epoch_steps
        self._meter.flush()
        scores = evaluate(
            [(self._predict, self.state.params)],
            [self.setup.val],
            self.setup.mesh,
            loop.batch_size,
            threads=self.config.data.threads,
        )
        summary = scores[0].summary()
        self._expect_finite(summary["loss"])
        rate = float(optimizer.rate_state(self.state.opt_state).rate)
        speed = self._meter.speed
        shown = {"learning_rate": rate, "images_per_second": round(speed, 2)}
        self._log.write("val", self.step, self.step / epoch_steps, summary | shown)
        self._display.say(
            f"epoch {self.step / epoch_steps:.4g} of {loop.epochs}, step {self.step}: validation "
            f"loss {summary['loss']:.3f}, "
            f"{accuracies_text(summary, len(self.setup.val.source.class_names))}; "
            f"{speed:.0f} images/s"
        )
        # An error in the middle of an epoch is not an epoch's, and must not lower the rate.
        if self._validated_epochs < self.step // epoch_steps:
            error = 1 - summary["top1"]
            observed = optimizer.observe(self.state.opt_state, error, self.config.optimizer)
            self.state = devices.replicate(self.setup.mesh, self.state._replace(opt_state=observed))
            self._validated_epochs += 1
        self._save(summary)

    def _expect_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            steps = checkpoint.steps(self._run)
            good = f"the last good checkpoint is that of step {steps[-1]}, " if steps else ""
            raise ValueError(
                f"validation loss is not finite at step {self.step} ({loss}): expected a number; "
                f"nothing of it was saved, {good}another run with a lower optimizer.learning_rate "
                "may help"
            )

    def restart_clock(self) -> None:
        """Leaves the time in which other runs used the devices out of the speed."""
        self._meter.restart_clock()

    @property
    def awaits_saving(self) -> bool:
        """Whether a checkpoint is due at this step, inside an epoch."""
        every = self.config.train.checkpoint_steps
        return bool(
            every
            and self.step % every == 0
            and self.step % self.setup.epoch_steps
            and self.step < self.setup.last_step
        )

    @property
    def is_unsaved(self) -> bool:
        """Whether there were updates since the last checkpoint."""
        return self._saved_step != self.step

    def save(self) -> None:
        """Saves, unless this step is saved already."""
        if self.is_unsaved:
            self._save(None)

    def finish(self) -> None:
        """Says which step is best."""
        if devices.is_first_process():
            best = self._checkpoints.best()
            print(f"best validation per class: step {best} in {self._run / checkpoint.FOLDER}")

    def _save(self, validated: dict[str, float] | None) -> None:
        self._meter.flush()
        setup = self.setup
        names = setup.val.source.class_names
        net = Net(
            self.config.architecture,
            self.state.params,
            setup.preprocessing,
            names,
            self.step,
            self.config,
        )
        epoch, rest = divmod(self.step, setup.epoch_steps)
        kept = epoch in self.config.train.snapshot_epochs or self.step == setup.last_step
        if validated and not rest and kept and devices.is_first_process():
            keep_snapshot(self._run, net, epoch)
        leaves = jax.tree.leaves(self.state.opt_state)
        self._checkpoints.save(Progress(net, leaves), validated)
        self._meter.restart_clock()
        self._saved_step = self.step


@contextlib.contextmanager
def open_run(
    config: TrainConfig, run: Path, others: Sequence[RunSetup] = ()
) -> Iterator[TrainingRun]:
    """A run, from the start or from where it stopped, in a folder that is locked meanwhile.

    Args:
      config: the run.
      run: its folder, which may hold an earlier part of the same run.
      others: as for `set_up`.

    Raises:
      ValueError: the data cannot be used, the folder is another run's or in use, or every
        checkpoint is damaged.
    """
    with locked(run), TrainingRun(config, run, others) as training_run:
        yield training_run


def fit(config: TrainConfig, run: Path) -> None:
    """Trains to the configured end, from the start or from where the run in the folder stopped.

    Args:
      config: the configuration of the run.
      run: its folder, which may hold an earlier part of the same run.

    Raises:
      ValueError: the data cannot be used, the folder is another run's or in use, every checkpoint
        is damaged, or loss, gradients or validation loss are not finite.
      OSError: a file could not be written; the last checkpoint stays good.
      Stopped: a signal stopped it; what was learned is saved.
    """
    with open_run(config, run) as training_run, saved_when_stopped([training_run]):
        setup = training_run.setup
        train_step = compile_step(
            make_train_step(
                setup.model, setup.tx, setup.preprocessing, config.data.crops, config.seed
            ),
            setup.mesh,
        )
        batches = training_run.batches()
        while training_run.step < setup.last_step or training_run.awaits_validation:
            if training_run.awaits_validation:
                training_run.validate()
                continue
            batch = devices.to_devices(setup.mesh, next(batches))
            training_run.state, values = train_step(training_run.state, batch)
            training_run.note(values)
            devices.share_stop(training_run.step)
            if training_run.awaits_saving:
                training_run.save()
        training_run.save()
        training_run.finish()


@contextlib.contextmanager
def saved_when_stopped(
    runs: Sequence[TrainingRun], settle: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Saves runs where a signal stops the block; the process is not ended before that.

    Args:
      runs: the runs.
      settle: gives the runs their newest state.
    """
    # Of several processes none can save alone: JAX has them agree on SIGTERM, a Ctrl-C ends one.
    is_alone = jax.process_count() == 1
    with signals.saving(lambda: is_alone and any(run.is_unsaved for run in runs)):
        try:
            yield
        except signals.Stopped as stop:
            stop.saved = any(run.step for run in runs)
            settle()
            for run in runs:
                run.save()
            raise
