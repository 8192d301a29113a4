"""A training run as one frozen value: what to train, on what, how, and for how long."""

import dataclasses
import math
import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from tyro.constructors import PrimitiveConstructorSpec

from zfnet_jax.core import resources
from zfnet_jax.core.checked import Checked, at_least, limited
from zfnet_jax.data.config import DataConfig
from zfnet_jax.zfnet import architecture as architectures
from zfnet_jax.zfnet.architecture import Architecture


@dataclass(frozen=True)
class OptimizerConfig(Checked):
    """Stochastic gradient descent as in section 3; "(ours)" marks what the paper leaves open.

    Attributes:
      learning_rate: the first rate, above 0; the paper's is 0.01.
      momentum: 0 up to but not including 1; the paper's is 0.9.
      weight_decay: on kernels, not on biases (ours; AlexNet's 0.0005).
      filter_cap: the largest RMS of a convolution filter, 0 for no cap; the paper's is 0.1.
      schedule: "plateau" lowers the rate when the validation error stops improving, as the paper
        did by hand; "cosine" falls to zero over the run (ours); "constant".
      factor: what a plateau multiplies the rate by, between 0 and 1 (ours; AlexNet's 0.1).
      patience: epochs without a better validation error before that (ours).
      warmup_steps: steps over which the rate rises from zero (ours).
      first_layer_rate: what the first kernel's steps are multiplied by, above 0 (ours).
      first_layer_cap: the largest RMS of a first-layer filter, 0 for `filter_cap`'s (ours).
    """

    learning_rate: float = limited(0.01, lambda value: 0 < value < math.inf, "a number above 0")
    momentum: float = limited(0.9, lambda value: 0 <= value < 1, "0 up to below 1")
    weight_decay: float = limited(5e-4, lambda value: 0 <= value < 1, "0 up to below 1")
    filter_cap: float = limited(0.1, lambda value: value >= 0, "0 or more")
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    factor: float = limited(0.1, lambda value: 0 < value < 1, "between 0 and 1")
    patience: int = at_least(1, default=5)
    warmup_steps: int = at_least(0, default=0)
    first_layer_rate: float = limited(1.0, lambda value: 0 < value < math.inf, "a number above 0")
    first_layer_cap: float = limited(0.0, lambda value: value >= 0, "0 or more")

    @property
    def cap_of_first_layer(self) -> float:
        """The largest RMS of a first-layer filter, 0 for no cap."""
        return self.first_layer_cap or self.filter_cap


@dataclass(frozen=True)
class LoopConfig(Checked):
    """How long a run is, and what it writes.

    Attributes:
      epochs: passes over the training set; the paper's are 70.
      max_steps: the run ends after this many steps if that is earlier; 0 for no such limit.
      batch_size: images a step, over all devices; the paper's is 128.
      checkpoint_steps: steps between checkpoints inside an epoch; 0 for one per epoch.
      keep: how many of the newest checkpoints are kept.
      snapshot_epochs: the epochs after which, and after the last, the net is kept for good, in
        snapshots/; the default is that of Fig 4.
      log_steps: steps between two training lines of metrics.jsonl.
      fit_to_data: whether a small data set lowers the batch size, until an epoch has 8 steps or a
        batch 8 images, and the warm-up, to 2 epochs at most.
    """

    epochs: int = at_least(1, default=70)
    max_steps: int = at_least(0, default=0)
    batch_size: int = at_least(1, default=128)
    checkpoint_steps: int = at_least(0, default=0)
    keep: int = at_least(1, default=2)
    snapshot_epochs: tuple[int, ...] = limited(
        (1, 2, 5, 10, 20, 30, 40, 64), lambda value: min(value, default=1) >= 1, "numbers from 1 on"
    )
    log_steps: int = at_least(1, default=10)
    fit_to_data: bool = False


_BY_NAME = PrimitiveConstructorSpec(
    nargs=1,
    metavar="NAME[@SIZE]",
    instance_from_str=lambda words: architectures.get(words[0]),
    is_instance=lambda value: isinstance(value, Architecture),
    str_from_instance=lambda arch: [f"{arch.name}@{arch.input_size}"],
)


@dataclass(frozen=True)
class TrainConfig(Checked):
    """One training run.

    Attributes:
      name: what the run is called; its folder is runs/NAME unless --workdir says another.
      architecture: zfnet, zfnet_wide, alexnet, zfnet_small or zfnet_128; "zfnet@192" reads 192-px
        pictures.
      init: "paper", a standard deviation of 0.01 everywhere; "he", scaled by each layer's inputs.
      init_from: another net to start from (fine-tuning), such as a run or caltech101: its layers of
        the same name and shape are taken, the last one where the classes are the same.
      dtype: the type that training computes in; "auto" is bfloat16 on accelerators, else float32.
      seed: the seed of the initial weights, the order, the augmentation, dropout and the embedded
        data set.
      data: which pictures.
      optimizer: how the parameters are updated.
      train: how long, and what is written.
    """

    name: str = limited("shapes", lambda value: value and "/" not in value, "a name without /")
    architecture: Annotated[Architecture, _BY_NAME] = architectures.ZFNET_SMALL
    init: Literal["paper", "he"] = "paper"
    init_from: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = limited(0, lambda value: 0 <= value < 2**31, "0 up to below 2^31")
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: LoopConfig = field(default_factory=LoopConfig)


_T = TypeVar("_T")
_PARTS = {"data": DataConfig, "optimizer": OptimizerConfig, "train": LoopConfig}


def to_json(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain JSON data, which `from_json` reads."""
    return {
        **dataclasses.asdict(config, dict_factory=_plain),
        "architecture": architectures.to_json(config.architecture),
    }


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in pairs}


def from_json(data: dict[str, Any]) -> TrainConfig:
    """The configuration that `to_json` wrote.

    Raises:
      ValueError: a key is unknown or a value out of its range.
    """
    if not isinstance(data, dict):
        raise ValueError(f"configuration {data!r}: expected what to_json writes")
    parts: dict[str, Any] = {
        name: _build(kind, data[name]) for name, kind in _PARTS.items() if name in data
    }
    if "architecture" in data:
        parts["architecture"] = architectures.from_json(data["architecture"])
    return _build(TrainConfig, {**data, **parts})


def _build(kind: type[_T], values: dict[str, Any]) -> _T:
    fields = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    known = [field.name for field in fields]
    for key in values:
        if key not in known:
            raise ValueError(f"config key {key!r}: expected one of {', '.join(known)}")
    # JSON has lists where a configuration has tuples.
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def flat(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain JSON data by dotted keys, such as "optimizer.momentum"."""
    whole = to_json(config)
    parts = {f"{part}.{key}": value for part in _PARTS for key, value in whole.pop(part).items()}
    return {**whole, **parts}


KEYS_THAT_CHANGE_NO_NET = frozenset(
    {
        "data.threads",
        "data.cache_gib",
        "train.checkpoint_steps",
        "train.keep",
        "train.snapshot_epochs",
        "train.log_steps",
    }
)
"""Keys that change the speed of a run and what it keeps, and not the net that it ends with."""


def recipe(config: TrainConfig) -> dict[str, Any]:
    """All values that change a net but its name and seed: what the nets of one table share."""
    return {
        key: v
        for key, v in flat(config).items()
        if key not in KEYS_THAT_CHANGE_NO_NET | {"name", "seed"}
    }


def load(config: str | Path) -> TrainConfig:
    """What `get_config()` of a configuration file returns.

    Args:
      config: a Python file, or the name of a configuration that comes with the package.

    Raises:
      ValueError: there is no such file or name, or the file is no configuration.
    """
    path = Path(config)
    if not path.is_file():
        if path.suffix or len(path.parts) != 1:
            raise ValueError(f"config {path}: expected a Python file with get_config()")
        path = resources.path("configs", path.name)
    try:
        made = runpy.run_path(str(path))["get_config"]()
    except (Exception, SystemExit) as error:
        raise ValueError(f"config {path}: {type(error).__name__}: {error}") from error
    if not isinstance(made, TrainConfig):
        raise ValueError(f"config {path}: expected get_config() to return a TrainConfig")
    return made
