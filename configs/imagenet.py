"""ImageNet 2012 by the paper's recipe (Zeiler & Fergus 2014, section 3).

One GPU:
    zfnet-jax train --config imagenet
Eight GPUs of one host (the batch of 128 is cut into 16 a device):
    the same command
A TPU slice or several hosts (on each of them, the cluster says who is who):
    zfnet-jax train --config imagenet --coordinator auto
Several hosts without a cluster manager (on host I of N):
    zfnet-jax train --config imagenet \\
        --coordinator HOST0:1234 --processes N --process I

Expects the pictures packed once, from folders train/CLASS and val/CLASS, by
    python tools/prepare_images.py ILSVRC2012 --out data/imagenet --name imagenet

The paper's result is 38.4 % top-1 and 16.5 % top-5 validation error after 70 epochs, ten views.
No such run has been made with this code. Section 3 leaves open, and here are AlexNet's: weight
decay, the factor at a plateau. Ours: the patience, and that the filter cap follows every update.
"""

from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.data.config import DataConfig
from zfnet_jax.zfnet.architecture import ZFNET


def get_config() -> TrainConfig:
    return TrainConfig(
        name="imagenet",
        architecture=ZFNET,
        init="paper",
        data=DataConfig(source="tfds:imagenet@data/imagenet", crops="views", cache_gib=0.0),
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            filter_cap=0.1,
            schedule="plateau",
            factor=0.1,
            patience=5,
        ),
        train=LoopConfig(epochs=70, batch_size=128, checkpoint_steps=2000, log_steps=50),
    )
