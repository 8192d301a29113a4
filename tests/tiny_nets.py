"""Small nets of random weights, for commands that look into a net and need no trained one.

All have the same layers and input, so that what one test compiled another finds.
"""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from conftest import random_params

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.preprocessing import Preprocessing
from zfnet_jax.networks import weights
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import ZFNET_SMALL

SIZE, FRAME, WIDTH, HIDDEN = 32, 37, 8, 16
ARCH = ZFNET_SMALL.with_features(
    **{f"conv{number}": WIDTH for number in range(1, 6)}, fc6=HIDDEN, fc7=HIDDEN
).at(SIZE)
CLASSES = ("blue", "green", "red")
EPOCHS = (1, 5)
STEP = 24


def random_net(source: str, class_names: Sequence[str] = CLASSES, seed: int = 0) -> Net:
    """A net of random weights that says it was trained on a data set."""
    params = random_params(ARCH, len(class_names), seed)
    params["conv1"]["kernel"] /= 60  # which is about the standard deviation of raw pixels
    mean = np.random.default_rng(0).uniform(90, 160, (FRAME, FRAME, 3)).astype(np.float32)
    data = DataConfig(source=source, val_fraction=0.25, threads=2)
    config = TrainConfig(name="tiny", architecture=ARCH, data=data)
    names = tuple(class_names)
    return Net(ARCH, params, Preprocessing(FRAME, mean), names, STEP, config=config)


def write_net(net: Net, path: Path) -> Path:
    """Writes a net to a .safetensors file, and returns its path."""
    weights.write(net, path, jnp.float32)
    return path
