"""Fig 6, the net that the paper improves on: AlexNet's first layers, 11x11 filters at stride 4.

    zfnet-jax train --config selection_alexnet

All else is configs/selection_zfnet.py, the widths too, so that the geometry of the first two layers
differs, and the first layer's cap: the paper's panel is of Krizhevsky's own net, which had none.
"""

from dataclasses import replace
from pathlib import Path

from zfnet_jax import config
from zfnet_jax.config import TrainConfig
from zfnet_jax.zfnet.architecture import ALEXNET, ZFNET_128, Conv, Dense

WIDTHS = {
    layer.name: layer.features
    for layer in ZFNET_128
    if isinstance(layer, Conv | Dense) and layer.features is not None
}


def get_config() -> TrainConfig:
    base = config.load(Path(__file__).with_name("selection_zfnet.py"))
    architecture = ALEXNET.with_features(**WIDTHS).at(128)
    optimizer = replace(base.optimizer, first_layer_cap=0.0)
    return replace(base, name="selection_alexnet", architecture=architecture, optimizer=optimizer)
