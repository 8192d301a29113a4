"""Fig 6, first layer "without feature scale clipping": configs/selection_zfnet.py without the cap.

zfnet-jax train --config selection_uncapped
"""

from dataclasses import replace
from pathlib import Path

from zfnet_jax import config
from zfnet_jax.config import TrainConfig


def get_config() -> TrainConfig:
    base = config.load(Path(__file__).with_name("selection_zfnet.py"))
    optimizer = replace(base.optimizer, filter_cap=0.0, first_layer_cap=0.0)
    return replace(base, name="selection_uncapped", optimizer=optimizer)
