"""Caltech-101 (Fei-Fei, Fergus and Perona 2004) from scratch at 128 px, on two CPU cores.

    zfnet-jax train --config caltech101

Expects data/caltech101/101_ObjectCategories/CLASS/*.jpg without the background class, and beside
it train.txt and test.txt with one CLASS/FILE a line. Without such lists,
`--data.train-list None --data.val-list None` splits each class by the seed.

Every class is drawn equally often, since the largest has 25 times as many
pictures as the smallest and the measure is the mean of per-class accuracies.
"""

from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.data.config import DataConfig
from zfnet_jax.zfnet.architecture import ZFNET_128


def get_config() -> TrainConfig:
    return TrainConfig(
        name="caltech101",
        architecture=ZFNET_128,
        init="he",
        data=DataConfig(
            source="folder:data/caltech101/101_ObjectCategories",
            train_list="data/caltech101/train.txt",
            val_list="data/caltech101/test.txt",
            crops="random",
            balanced=True,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.015, schedule="cosine", warmup_steps=200, first_layer_rate=0.002
        ),
        train=LoopConfig(epochs=40, batch_size=32),
    )
