"""Table 3's twelve models on Caltech-101 at 64 px, from scratch, on two CPU cores.

    python tools/ablation.py --config configs/ablation_caltech101.py  # results: docs/results.md

Data and sampling are those of configs/caltech101.py. The net is Fig 3 with a third of its first
maps and a quarter of all other widths, and its first layer's filters and stride for pictures of
64 px; the twelve are edits of it in the paper's proportions.
"""

from dataclasses import replace
from pathlib import Path

from zfnet_jax import config
from zfnet_jax.config import TrainConfig
from zfnet_jax.zfnet.architecture import ZFNET

NET = (
    ZFNET.edit("conv1", size=5, stride=1)
    .with_features(conv1=32, conv2=64, conv3=96, conv4=96, conv5=64, fc6=1024, fc7=1024)
    .at(64)
)


def get_config() -> TrainConfig:
    base = config.load(Path(__file__).with_name("caltech101.py"))
    return replace(
        base,
        name="ablation_caltech101",
        architecture=NET,
        optimizer=replace(base.optimizer, first_layer_rate=0.005),
        train=replace(base.train, epochs=25, keep=1, snapshot_epochs=(25,)),
    )
