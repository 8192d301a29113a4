"""Your own pictures, a folder for each class, at 128 px; a start for a configuration of your own.

    zfnet-jax train --config folder --data.source folder:PATH
    zfnet-jax train --config folder --data.source folder:PATH --init-from caltech101 \\
        --optimizer.learning-rate 0.002 --train.epochs 10

The recipe is that of configs/caltech101.py. For a small data set the batch size is lowered, until
an epoch has 8 steps or a batch 8 images, and the warm-up, to 2 epochs at most: `fit_to_data`. The
second command starts from a net that has learned 101 classes of photographs, at a lower rate: at
0.015 it diverged on 40 training images.
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
        train=LoopConfig(epochs=40, batch_size=32, fit_to_data=True),
    )
