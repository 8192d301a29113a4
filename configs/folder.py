"""Your own pictures, a folder for each class, at 128 px; a start for a configuration of your own.

    python -m zfnet_jax.train --config configs/folder.py --data.source folder:PATH

The recipe is that of configs/caltech101.py.
"""

from zfnet_jax.architecture import ZFNET_128
from zfnet_jax.config import DataConfig, LoopConfig, OptimizerConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        name="folder",
        architecture=ZFNET_128,
        init="he",
        data=DataConfig(source="folder:pictures", crops="random", balanced=True),
        optimizer=OptimizerConfig(
            learning_rate=0.015, schedule="cosine", warmup_steps=200, first_layer_rate=0.002
        ),
        train=LoopConfig(epochs=40, batch_size=32),
    )
