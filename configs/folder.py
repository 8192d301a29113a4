"""Your own pictures, a folder for each class, at 128 px; a start for a configuration of your own.

    python -m zfnet_jax.train --config configs/folder.py --data.source folder:PATH

The recipe is that of configs/caltech101.py.
"""

from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.data.config import DataConfig
from zfnet_jax.zfnet.architecture import ZFNET_128


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
