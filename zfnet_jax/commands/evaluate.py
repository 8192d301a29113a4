"""Score nets on a validation set: top-1, top-5 and the mean over classes."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zfnet_jax.commands import command_line
from zfnet_jax.core.files import write_json


def main(
    ckpt: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="NET [NET ...]")],
    views: Literal[1, 10] = 1,
    source: str | None = None,
    batch_size: int = 64,
    out: Path | None = None,
) -> None:
    """Evaluate one net, or several and their mean, on a validation set.

    Example: zfnet-jax evaluate --ckpt runs/shapes --views 10

    Args:
      ckpt: runs, steps of runs, .safetensors files, or names such as caltech101.
      views: 1 for the centre crop, 10 for the mean over the paper's ten views.
      source: another data set than the first net's own: shapes, folder:PATH or tfds:NAME[@DIR].
      batch_size: crops that a net sees at once: images times views.
      out: a JSON file for the numbers.
    """
    # Imported here, so that --help does not wait for JAX, Orbax and Grain.
    from zfnet_jax.commands.images import training_of
    from zfnet_jax.config import TrainConfig
    from zfnet_jax.data.source import same_data_set, warn_of_skipped
    from zfnet_jax.data.splits import open_splits
    from zfnet_jax.training import checkpoint
    from zfnet_jax.training.evaluation import evaluate_nets, expect_ensemble, expect_held_out
    from zfnet_jax.training.metrics import accuracies_text

    command_line.expect("ckpt", "", len(ckpt) > 0, "at least one net")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    nets = [checkpoint.load(path) for path in ckpt]
    expect_ensemble(ckpt, nets)
    config = nets[0].config or TrainConfig()
    data = training_of(nets[0]).data if source is None else config.data
    if source is not None and not same_data_set(source, data.source):
        # The lists are of the net's own data set.
        data = replace(data, source=source, train_list=None, val_list=None, exclude=None)
    splits = open_splits(data, config.seed)
    expect_held_out(ckpt, nets, data, config.seed, splits.val)
    warn_of_skipped(splits.skipped)
    results = evaluate_nets(nets, splits.val, names=ckpt, views=views, batch_size=batch_size)
    names = [str(path) for path in ckpt] + ["mean of all"] * (len(results) > len(ckpt))
    classes = len(nets[0].class_names)
    for name, result in zip(names, results, strict=True):
        print(f"{name}: {accuracies_text(result, classes)}, loss {result['loss']:.4f}")
    if out:
        rows = [{"net": name, **result} for name, result in zip(names, results, strict=True)]
        write_json(out, {"views": views, "results": rows})
        print(f"wrote {out}")


run = partial(command_line.run, main)
