"""Train the paper's twelve models and put their errors beside Table 3's."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from zfnet_jax import config as configs
from zfnet_jax.commands import command_line
from zfnet_jax.config import TrainConfig
from zfnet_jax.core.files import output_folder, write_json
from zfnet_jax.experiments import ablation_tables as report
from zfnet_jax.experiments.ablation import choose, train
from zfnet_jax.experiments.record import Record


def main(
    config: Path,
    models: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (),
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="SEED ...")] = (0,),
    out: Path | None = None,
    paper: bool = False,
) -> None:
    """Train the ablations of Table 3 one after the other, each a run; what is finished stays.

    Example: zfnet-jax ablation --config configs/ablation_caltech101.py --seeds 0 1 2

    Args:
      config: a file with get_config() -> TrainConfig, whose net has the layers of Fig 3 in any
        sizes; the twelve are edits of it and of its AlexNet, which differs from it as in the paper.
      models: which ones, by name: alexnet, zfnet-wide-3-4-5, ...; by default all. A wrong name
        lists them.
      seeds: of the runs; each trains every model once.
      out: the folder of the runs and the table; by default runs/NAME of the configuration. The
        table holds all that was trained in it.
      paper: also draw the paper's errors, which are of ImageNet, in the figure.
    """
    command_line.expect("seeds", "", len(seeds) > 0, "at least one")
    base, chosen = configs.load(config), choose(models)
    for ablation in chosen:
        ablation.of(base.architecture)  # refuses other layers before anything is trained
    out = out or Path("runs") / base.name
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder, it is a file")
    record = Record(out, "ablation", configs.recipe(base))
    for seed in dict.fromkeys(seeds):
        for ablation in chosen:
            known = len(record.parts)
            with command_line.resumable(out):
                train(ablation, base, seed, out, record)
            if len(record.parts) > known:
                _write(record, base, config, out, paper)
    _write(record, base, config, out, paper)
    print((out / "ablation.md").read_text(), end="")
    print(f"wrote ablation.md, .json and .png to {out}: {len(record.parts)} runs")


def _write(record: Record, base: TrainConfig, config: Path, out: Path, paper: bool) -> None:
    """Writes the table of what is finished."""
    description = {
        "config": str(config),
        **report.to_json(record.parts),
        "recipe": configs.to_json(base),
    }
    with output_folder(out, wait=True) as folder:
        write_json(folder / "ablation.json", description)
        (folder / "ablation.md").write_text(report.table(record.parts) + "\n")
        report.plot(record.parts, base.data.source, folder / "ablation.png", paper=paper)


run = partial(command_line.run, main)
