"""Table 3's twelve models on Caltech-101 at 64 px, from scratch, on two CPU cores.

    python tools/ablation.py --config configs/ablation_caltech101.py

Expects the pictures where configs/caltech101.py does. The net is Fig 3 with a third of its first
maps and a quarter of all other widths, and its first layer's filters and stride for pictures of
64 px; the twelve are edits of it in the paper's proportions. About seventy minutes a seed.
"""

from zfnet_jax.architecture import ZFNET
from zfnet_jax.config import DataConfig, LoopConfig, OptimizerConfig, TrainConfig

NET = (
    ZFNET.edit("conv1", size=5, stride=1)
    .with_features(conv1=32, conv2=64, conv3=96, conv4=96, conv5=64, fc6=1024, fc7=1024)
    .at(64)
)


def get_config() -> TrainConfig:
    return TrainConfig(
        name="ablation_caltech101",
        architecture=NET,
        init="he",
        data=DataConfig(
            source="folder:data/caltech101/101_ObjectCategories",
            train_list="data/caltech101/train.txt",
            val_list="data/caltech101/test.txt",
            crops="random",
            balanced=True,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.015, schedule="cosine", warmup_steps=200, first_layer_rate=0.005
        ),
        train=LoopConfig(epochs=25, batch_size=32, keep=1, snapshot_epochs=(25,)),
    )
