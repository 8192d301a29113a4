"""The ablations of Zeiler & Fergus 2014, section 4.3, Table 3: two nets and ten edits of them.

The edits are proportions, not widths, so that they apply to a smaller net as well; at the paper's
size they give the paper's twelve nets, down to the number of parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.splits import open_splits
from zfnet_jax.experiments.record import Record
from zfnet_jax.report.training_run import draw_training_run
from zfnet_jax.training import checkpoint, metrics
from zfnet_jax.training.evaluation import evaluate_nets
from zfnet_jax.training.run import fit
from zfnet_jax.training.run_folder import identify, locked
from zfnet_jax.zfnet.architecture import ZFNET, Architecture, Conv, Dense


class Errors(NamedTuple):
    """The errors of a net, 0..1.

    Attributes:
      train_top1: the share of the training set whose most probable class is wrong.
      val_top1: that of the validation set.
      val_top5: the share of the validation set whose class is not among the five most probable.
    """

    train_top1: float
    val_top1: float
    val_top5: float


class Ablation(NamedTuple):
    """One row of Table 3.

    Attributes:
      name: its name on the command line and in the name of its run's folder.
      title: its name in the table.
      base: the net that is edited.
      removed: the layers that are taken out.
      factors: by layer, the factor that its width is multiplied by.
      paper: the errors in the paper.
      paper_parameters: those of the net that the paper trained, of 1,000 classes.
    """

    name: str
    title: str
    base: Literal["alexnet", "zfnet"]
    removed: tuple[str, ...]
    factors: Mapping[str, Fraction]
    paper: Errors
    paper_parameters: int

    def of(self, zfnet: Architecture) -> Architecture:
        """The edited net.

        Args:
          zfnet: a net with the layers of Fig 3, of any sizes.

        Raises:
          ValueError: it has other layers.
        """
        expected = [layer.name for layer in ZFNET]
        if [layer.name for layer in zfnet] != expected:
            raise ValueError(
                f"architecture {zfnet.name!r}: expected the layers of Fig 3, {', '.join(expected)}"
            )
        base = krizhevsky(zfnet) if self.base == "alexnet" else zfnet
        widths = {
            layer.name: round(layer.features * self.factors[layer.name])
            for layer in base
            if isinstance(layer, Conv | Dense) and layer.features and layer.name in self.factors
        }
        return replace(base.with_features(**widths).without(*self.removed), name=self.name)


def krizhevsky(zfnet: Architecture) -> Architecture:
    """The net that differs from a ZFNet of any size as Krizhevsky's differs from Fig 3.

    Zeiler & Fergus 2014, sections 3 and 4.1: its first filters are 11x11 where ZFNet's are 7x7,
    all the stride of the first two convolutions is in the first, and norms come before pools.

    Args:
      zfnet: a net with the layers of Fig 3.

    Returns:
      For `architecture.ZFNET` the layers of `architecture.ALEXNET`.
    """
    first, second = zfnet["conv1"], zfnet["conv2"]
    assert isinstance(first, Conv)
    assert isinstance(second, Conv)
    larger = first.size * 11 // 7 | 1  # odd, so that it has a middle
    # The second first: no net in between has smaller maps than the last.
    edited = zfnet.edit("conv2", stride=1, padding=second.size // 2)
    edited = edited.edit("conv1", size=larger, stride=first.stride * second.stride)
    order = ("conv1", "norm1", "pool1", "conv2", "norm2", "pool2")
    layers = (*(edited[name] for name in order), *edited.layers[len(order) :])
    return replace(edited, layers=layers, name="alexnet")


_HALF = {"fc6": Fraction(1, 2), "fc7": Fraction(1, 2)}
_DOUBLE = {"fc6": Fraction(2), "fc7": Fraction(2)}
_WIDE = {"conv3": Fraction(4, 3), "conv4": Fraction(8, 3), "conv5": Fraction(2)}

ABLATIONS = (
    Ablation(
        *("alexnet", "replication of Krizhevsky", "alexnet", (), {}),
        *(Errors(0.351, 0.405, 0.181), 62_378_344),
    ),
    Ablation(
        *("alexnet-without-3-4", "- layers 3,4 removed", "alexnet", ("conv3", "conv4"), {}),
        *(Errors(0.418, 0.454, 0.221), 59_870_824),
    ),
    Ablation(
        *("alexnet-without-7", "- layer 7 removed", "alexnet", ("fc7",), {}),
        *(Errors(0.274, 0.400, 0.184), 45_597_032),
    ),
    Ablation(
        *("alexnet-without-6-7", "- layers 6,7 removed", "alexnet", ("fc6", "fc7"), {}),
        *(Errors(0.274, 0.448, 0.224), 12_964_200),
    ),
    Ablation(
        *("alexnet-without-3-4-6-7", "- layers 3,4,6,7 removed", "alexnet"),
        *(("conv3", "conv4", "fc6", "fc7"), {}),
        *(Errors(0.711, 0.713, 0.501), 10_456_680),
    ),
    Ablation(
        *("alexnet-half-6-7", "- layers 6,7 of half the width", "alexnet", (), _HALF),
        *(Errors(0.403, 0.417, 0.188), 28_868_968),
    ),
    Ablation(
        *("alexnet-double-6-7", "- layers 6,7 of double the width", "alexnet", (), _DOUBLE),
        *(Errors(0.268, 0.400, 0.181), 154_562_920),
    ),
    Ablation(
        *("zfnet", "Fig 3", "zfnet", (), {}),
        *(Errors(0.331, 0.384, 0.165), 62_357_608),
    ),
    Ablation(
        *("zfnet-half-6-7", "- layers 6,7 of half the width", "zfnet", (), _HALF),
        *(Errors(0.382, 0.402, 0.176), 28_848_232),
    ),
    Ablation(
        *("zfnet-double-6-7", "- layers 6,7 of double the width", "zfnet", (), _DOUBLE),
        *(Errors(0.220, 0.388, 0.170), 154_542_184),
    ),
    Ablation(
        *("zfnet-wide-3-4-5", "- wider layers 3,4,5", "zfnet", (), _WIDE),
        *(Errors(0.188, 0.375, 0.160), 107_627_624),
    ),
    Ablation(
        *("zfnet-wide-3-4-5-double-6-7", "- both of the last two", "zfnet", (), _WIDE | _DOUBLE),
        *(Errors(0.100, 0.383, 0.169), 237_560_936),
    ),
)
"""Table 3, row by row; its 2048 and 8192 are half and double, its 512, 1024, 512 are `_WIDE`."""


def choose(names: Sequence[str]) -> tuple[Ablation, ...]:
    """The ablations of these names, in the table's order; all for none.

    Raises:
      ValueError: there is none of a name.
    """
    known = [ablation.name for ablation in ABLATIONS]
    for name in names:
        if name not in known:
            raise ValueError(f"model {name!r}: expected one of {', '.join(known)}")
    return tuple(ablation for ablation in ABLATIONS if not names or ablation.name in names)


def train(ablation: Ablation, config: TrainConfig, seed: int, out: Path, record: Record) -> None:
    """Trains and scores one model, or continues it; does nothing where the record has it.

    Its errors are those of the centre view, over the whole training and validation set.

    Args:
      ablation: the model.
      config: the run of the net laid out as Fig 3.
      seed: of this run.
      out: the experiment's folder; the run's is NAME-seedSEED in it.
      record: of the experiment; gets a part for the model, the seed and the pictures.

    Raises:
      ValueError: the model cannot be trained; named.
    """
    run_config = replace(
        config, name=ablation.name, architecture=ablation.of(config.architecture), seed=seed
    )
    splits = open_splits(run_config.data, seed)
    data = identify(splits)["sha256"]
    key = {"model": ablation.name, "seed": seed, "data": data}
    if record.find(**key):
        return
    run = out / f"{ablation.name}-seed{seed}"
    try:
        with locked(run):
            fit(run_config, run)
            draw_training_run(run)
    except ValueError as error:
        raise ValueError(f"model {ablation.name}, seed {seed}: {error}") from error
    net = checkpoint.load(run)
    on_train, on_val = (evaluate_nets([net], source)[0] for source in (splits.train, splits.val))
    errors = Errors(1 - on_train["top1"], 1 - on_val["top1"], 1 - on_val["top5"])
    record.add(
        key,
        {
            "run": run.name,
            "step": net.step,
            "classes": len(net.class_names),
            "train_images": len(splits.train),
            "val_images": len(splits.val),
            "parameters": run_config.architecture.parameter_count(len(net.class_names)),
            **errors._asdict(),
            "seconds": seconds_of(run, run_config.train.batch_size),
        },
    )


def seconds_of(run: Path, batch_size: int) -> float:
    """How long a run's training steps have taken, without validation, over all its parts."""
    lines = [line for line in metrics.read(run) if line["split"] == "train"]
    starts = [0, *(line["step"] for line in lines)]
    return sum(
        batch_size * (line["step"] - start) / line["images_per_second"]
        for start, line in zip(starts, lines, strict=False)
    )


def errors_of(part: Mapping[str, Any]) -> Errors:
    """The errors in a part of the record."""
    return Errors(*(part[name] for name in Errors._fields))
