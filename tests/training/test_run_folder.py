from pathlib import Path

import pytest
from PIL import Image

from zfnet_jax.config import TrainConfig
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.splits import open_splits
from zfnet_jax.training.run_folder import expect_same_run, write_description


def paint(folder: Path, red: int) -> None:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (red, number, 0)).save(folder / name / f"{number}.bmp")


def test_repainted_pictures_of_the_same_names_are_noticed(tmp_path: Path):
    pictures, run = tmp_path / "pictures", tmp_path / "run"
    paint(pictures, red=0)
    config = TrainConfig(name="tiny", data=DataConfig(source=f"folder:{pictures}"))
    write_description(run, config, open_splits(config.data))
    expect_same_run(run, config, open_splits(config.data))
    paint(pictures, red=200)
    with pytest.raises(ValueError, match="started with other pictures of the same names"):
        expect_same_run(run, config, open_splits(config.data))
    (pictures / "cat" / "0.bmp").unlink()
    with pytest.raises(ValueError, match=r"started with 4 \+ 2 .* found 3 \+ 2 pictures"):
        expect_same_run(run, config, open_splits(config.data))
