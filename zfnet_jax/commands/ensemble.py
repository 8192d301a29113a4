"""Train several nets that differ in their seed, and put their mean beside Table 2's."""

from functools import partial
from pathlib import Path
from typing import Literal

from zfnet_jax import config as configs
from zfnet_jax.commands import command_line
from zfnet_jax.commands.images import training_of
from zfnet_jax.core import identity
from zfnet_jax.core.files import output_folder, write_json
from zfnet_jax.data.source import warn_of_skipped
from zfnet_jax.data.splits import open_splits
from zfnet_jax.experiments import ensemble
from zfnet_jax.experiments import ensemble_tables as report
from zfnet_jax.experiments.ablation import seconds_of
from zfnet_jax.experiments.record import Record
from zfnet_jax.training import checkpoint
from zfnet_jax.training.evaluation import evaluate_nets


def main(
    config: Path,
    count: int = 5,
    together: Literal["auto", "yes", "no"] = "auto",
    out: Path | None = None,
    paper: bool = False,
) -> None:
    """Train nets of one configuration from several seeds, and evaluate each and their mean.

    Example: zfnet-jax ensemble --config configs/ablation_caltech101.py --count 5

    Args:
      config: a file with get_config() -> TrainConfig; its seed is the first net's.
      count: how many nets.
      together: whether all are trained in one program, or one after the other. "auto" is together
        on an accelerator whose memory holds a step of all; on a CPU one by one is faster.
      out: the folder of the runs, seed0, seed1, ..., and of the table; by default
        runs/NAME-ensemble of the configuration. The same command goes on where it stopped.
      paper: also draw the paper's errors, which are of ImageNet, in the figure.
    """
    command_line.expect("count", count, count >= 2, "2 or more")
    base = configs.load(config)
    runs = ensemble.members(base, count)
    splits = open_splits(base.data, base.seed)
    warn_of_skipped(splits.skipped)
    out = out or Path("runs") / f"{base.name}-ensemble"
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder, it is a file")
    record = Record(out, "ensemble", configs.recipe(base))
    folders = [out / f"seed{run.seed}" for run in runs]
    at_once = together == "yes" or (
        together == "auto" and ensemble.goes_together(base, len(splits.train.class_names), count)
    )
    fit = ensemble.fit_together if at_once else ensemble.fit_one_by_one
    with command_line.resumable(out):
        fit(runs, folders)
    nets = [checkpoint.load(folder) for folder in folders]
    digests = [identity.of_arrays(net.params) for net in nets]
    trained = []
    for net, sha, folder in zip(nets, digests, folders, strict=True):
        seconds = seconds_of(folder, base.train.batch_size)
        results = {"seed": training_of(net).seed, "step": net.step, "seconds": seconds}
        trained.append(record.add({"net": sha}, {**results, "together": at_once}))
    scores = {}
    for views in (1, 10):
        key = {"views": views, "nets": digests}
        part = record.find(**key) or record.add(
            key, {"scores": evaluate_nets(nets, splits.val, views=views)}
        )
        scores[views] = part["scores"]
    names = [folder.name for folder in folders]
    text = report.table(names, scores)
    description = {
        "config": str(config),
        "trained": trained,
        "val_images": len(splits.val),
        "scores": [
            {"views": views, "net": name, **row}
            for views, rows in scores.items()
            for name, row in zip([*names, f"mean of {count}"], rows, strict=True)
        ],
        "paper": [{"net": n, "top1_error": a, "top5_error": b} for n, a, b in report.PAPER],
        "recipe": configs.to_json(base),
    }
    with output_folder(out, wait=True) as folder:
        write_json(folder / "ensemble.json", description)
        (folder / "ensemble.md").write_text(text + "\n")
        report.plot(names, scores, folder / "ensemble.png", paper=paper)
    print(text)
    print(f"wrote ensemble.md, .json and .png to {out}: {count} nets")


run = partial(command_line.run, main)
