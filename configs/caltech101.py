"""Caltech-101 from scratch at 128 px, on two CPU cores.

python -m zfnet_jax.train --config configs/caltech101.py
"""

from zfnet_jax.architecture import ZFNET
from zfnet_jax.config import DataConfig, LoopConfig, OptimizerConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        name="caltech101",
        architecture=ZFNET.edit("conv2", stride=1)
        .with_features(conv1=64, conv2=128, conv3=256, conv4=256, conv5=192, fc6=768, fc7=768)
        .at(128),
        initializer="he",
        data=DataConfig(
            source="folder:data/caltech101/101_ObjectCategories", crops="random", balanced=True
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.01, schedule="cosine", warmup_steps=200, balance_input=True
        ),
        train=LoopConfig(epochs=50, batch_size=32),
    )
