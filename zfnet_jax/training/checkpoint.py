"""Checkpoints of a run, and the one way to load a net from wherever it is kept.

A checkpoint holds, as separate items, the parameters, the mean of the training set, the
optimiser's state and the position in the data; and as metadata the net's description and a digest
of each item, since arrays on disk carry no checksum of their own. A step's folder appears only
when it is whole, and then gets a digest of each of its files. What is damaged later is noticed by
the digests, named, and the step before used. Only a digest that differs, or a file that does not
parse, is damage; an interrupt, a permission that lacks or too many open files stop the command.

This is the only module that imports Orbax.
"""

import errno
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from zfnet_jax.core import identity, resources, signals
from zfnet_jax.core.files import read_json, write_text
from zfnet_jax.networks import net as nets
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net

FOLDER = "checkpoints"
"""Where a run's folder keeps its checkpoints."""

_FILES, _METRICS = "files.json", "metrics"

_T = TypeVar("_T")

# Orbax reports every file it opens; what matters to a user is said here or raised.
for logger in ("absl", "asyncio"):
    logging.getLogger(logger).setLevel(logging.CRITICAL)

_OF_THE_MOMENT = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)
"""Errors of the process or the machine, which say nothing of what is in a file."""


class Progress(NamedTuple):
    """Where a run stands.

    Attributes:
      net: the net so far.
      optimizer: the leaves of the optimiser's state, in tree order.
    """

    net: Net
    optimizer: Sequence[Any]


def load(path: str | Path) -> Net:
    """Loads a net.

    Args:
      path: a run's folder, whose newest undamaged step is taken; a step's folder in it; a
        .safetensors file; or the name of a net that comes with the package.

    Returns:
      The net.

    Raises:
      ValueError: there is none, or it is damaged.
      OSError: it cannot be read.
    """
    path = Path(path)
    if path.suffix == weights.SUFFIX:
        return weights.read(path)
    if (path / FOLDER).is_dir():
        return _newest(path, _load_net)
    if path.name.isdecimal() and path.is_dir():
        return _load_net(path)
    names = resources.names("weights")
    if str(path) in names:
        return weights.read(resources.path("weights", str(path)))
    raise ValueError(
        f"checkpoint {path}: expected a run's folder (with {FOLDER}/ in it), a step's folder, a "
        f"{weights.SUFFIX} file or a net that comes with the package ({', '.join(names)})"
    )


def load_progress(run: Path) -> Progress | None:
    """Loads where a run stands, from its newest undamaged step; None before its first checkpoint.

    Raises:
      ValueError: every checkpoint is damaged.
      OSError: one cannot be read.
    """
    return _newest(run, _load_progress) if steps(run) else None


def steps(run: Path) -> list[int]:
    """The steps that a run has checkpoints of, ascending."""
    folder = run / FOLDER
    names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(name) for name in names if name.isdecimal())


class Checkpoints:
    """The checkpoints that a run writes; a context manager, one at a time per run."""

    def __init__(self, run: Path, keep: int) -> None:
        """Opens a run's folder for writing.

        Args:
          run: the folder.
          keep: how many of the newest stay, beside the one of the best mean per-class accuracy.
        """
        policies = ocp.training.preservation_policies
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["per_class"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        preserved: Any = policies.AnyPreservationPolicy([policies.LatestN(keep), best])
        self._folder = run / FOLDER
        for step in steps(run):
            _forget_damaged_metrics(self._folder / str(step))
        self._checkpointer = ocp.training.Checkpointer(
            str(self._folder.absolute()),
            preservation_policy=preserved,
            cleanup_tmp_directories=True,  # a killed save leaves one
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._checkpointer.close()
        except Exception:  # a failed save fails again
            if kind is None:
                raise

    def is_validated(self, step: int) -> bool:
        """Whether there is a checkpoint of this step with its validation."""
        return any(saved.step == step and saved.metrics for saved in self._checkpointer.checkpoints)

    def best(self) -> int | None:
        """The step of the best mean per-class accuracy, if any was validated."""
        validated: dict[int, Any] = {
            saved.step: saved.metrics for saved in self._checkpointer.checkpoints if saved.metrics
        }
        return max(validated, key=lambda step: validated[step]["per_class"], default=None)

    def save(self, progress: Progress, metrics: Mapping[str, float] | None = None) -> None:
        """Writes a checkpoint, and deletes those that need not stay.

        Args:
          progress: where the run stands.
          metrics: of its validation, if this step had one.

        Raises:
          OSError: it could not be written; the earlier ones stay as they are.
        """
        net = progress.net
        items = {
            "params": net.params,
            "preprocessing": {"mean": net.preprocessing.mean},
            "optimizer": list(progress.optimizer),
        }
        description = nets.to_json(net)
        described = {**items, "net": identity.as_bytes(description)}
        digests = {name: identity.of_arrays(item) for name, item in described.items()}
        metadata: Any = {"net": description, "sha256": digests}
        step = self._folder / str(net.step)
        try:
            # By default Orbax skips a save that it thinks too soon; a damaged step is written anew.
            self._checkpointer.save_checkpointables(
                net.step,
                {**items, "position": {"step": net.step}},
                force=True,
                overwrite=True,
                metrics=None if metrics is None else dict(metrics),
                custom_metadata=metadata,
            )
            if jax.process_index() == 0:
                files = (path for path in step.rglob("*") if path.is_file())
                shas = {path.relative_to(step).as_posix(): identity.of_file(path) for path in files}
                write_text(step / _FILES, json.dumps(shas, indent=1, sort_keys=True) + "\n")
        except Exception as error:  # a full disk is anything but an OSError to TensorStore
            raise OSError(
                f"checkpoint {step}: not written, the earlier ones are good ({_reason(error)})"
            ) from error


def _load_net(step: Path) -> Net:
    return _net(step, *_read(step, "params", "preprocessing"))


def _load_progress(step: Path) -> Progress:
    description, params, preprocessing, optimizer = _read(
        step, "params", "preprocessing", "optimizer"
    )
    return Progress(_net(step, description, params, preprocessing), optimizer)


def _net(step: Path, description: Any, params: Any, preprocessing: Any) -> Net:
    try:
        return nets.from_json(description, params, preprocessing["mean"])
    except ValueError as error:
        raise ValueError(f"checkpoint {step}: {error}") from None


def _newest(run: Path, read: Callable[[Path], _T]) -> _T:
    """What `read` makes of the newest step that is not damaged; says which ones are."""
    damage = [f"checkpoint {run}: expected at least one step in {FOLDER}/, there is none"]
    for step in reversed(steps(run)):
        try:
            result = read(run / FOLDER / str(step))
        except _Damage as error:
            damage.append(str(error))
            continue
        for line in damage[1:]:
            print(f"warning: {line}; using step {step}", file=sys.stderr)
        return result
    raise ValueError(damage[-1])


class _Damage(ValueError):
    """A file is not what was written."""


def _read(step: Path, *items: str) -> list[Any]:
    """The net's description, then the named items as NumPy arrays, checked by their digests."""
    # First, since Orbax reports damage in tracebacks of its threads.
    if altered := _altered(step, items):
        raise _Damage(f"checkpoint {step}: damaged, {altered} does not match its digest")
    path = str(step.absolute())
    try:
        # Orbax swallows what a handler raises inside, and leaves coroutines after an error.
        with signals.postponed(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            metadata: Any = ocp.checkpointables_metadata(path)
            # NumPy leaves load on any number of devices, whatever number saved them.
            wanted = {name: _like(metadata.metadata[name]) for name in items}
            loaded = ocp.load_checkpointables(path, wanted)
        description = metadata.custom_metadata
        loaded["net"] = identity.as_bytes(description["net"])
        digests = {name: description["sha256"][name] for name in loaded}
    except Exception as error:  # whatever makes Orbax and TensorStore trip
        cause = _of_the_moment(error)
        if cause is not None or (step / _FILES).exists():  # no file has changed
            reason = _reason(cause or error)
            raise OSError(f"checkpoint {step}: cannot be read ({reason})") from error
        raise _Damage(f"checkpoint {step}: damaged ({_reason(error)})") from error
    if any(identity.of_arrays(item) != digests[name] for name, item in loaded.items()):
        raise _Damage(f"checkpoint {step}: damaged, its contents do not match their digest")
    return [description["net"], *(loaded[name] for name in items)]


def _altered(step: Path, items: Collection[str]) -> str | None:
    """The first file of these items, or beside them, that is not what was written; None if none."""
    if not (step / _FILES).exists():  # a kill came between the step and its list
        return None
    try:
        digests = dict(read_json(step / _FILES))
    except (ValueError, TypeError):
        return _FILES
    for name, sha in digests.items():
        item, inside, _ = name.partition("/")
        if item in items or not inside:
            try:
                if identity.of_file(step / name) != sha:
                    return name
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return name
    return None


def _of_the_moment(error: BaseException | None) -> BaseException | None:
    """The one of an error and its causes that says nothing of what is in a file, if any."""
    while error is not None:
        # TensorStore raises other types, with the system's words in the message.
        said = str(error)
        if isinstance(error, MemoryError) or any(os.strerror(n) in said for n in _OF_THE_MOMENT):
            return error
        error = error.__cause__ or error.__context__
    return None


def _forget_damaged_metrics(step: Path) -> None:
    """Takes out a step's validation that cannot be trusted, which Orbax would trip over."""
    file = step / _METRICS / _METRICS
    damaged = file.exists() and _altered(step, {_METRICS}) is not None
    if damaged:
        print(f"warning: checkpoint {step}: its validation is damaged, left out", file=sys.stderr)
        file.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    message = " ".join(str(error).split())  # TensorStore says where first and why last
    if len(message) >= 200:
        message = f"{message[:60]} ... {message[-140:]}"
    return f"{type(error).__name__}: {message}"


def _like(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
