from pathlib import Path

import pytest
from PIL import Image

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.splits import open_splits
from zfnet_jax.training.run_folder import claim


def paint(folder: Path, red: int) -> None:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (red, number, 0)).save(folder / name / f"{number}.bmp")


def test_repainted_pictures_of_the_same_names_are_noticed(tmp_path: Path):
    pictures, run = tmp_path / "pictures", tmp_path / "run"
    paint(pictures, red=0)
    config = TrainConfig(name="tiny", data=DataConfig(source=f"folder:{pictures}"))
    claim(run, config, open_splits(config.data), begun=False)
    claim(run, config, open_splits(config.data), begun=True)
    paint(pictures, red=200)
    with pytest.raises(ValueError, match="started with other pictures of the same names"):
        claim(run, config, open_splits(config.data), begun=True)
    (pictures / "cat" / "0.bmp").unlink()
    with pytest.raises(ValueError, match=r"started with 4 \+ 2 .* found 3 \+ 2 pictures"):
        claim(run, config, open_splits(config.data), begun=True)
