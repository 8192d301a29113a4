import json
import math

import pytest
from conftest import ROOT

from zfnet_jax import config as configs
from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig
from zfnet_jax.data.config import DataConfig
from zfnet_jax.zfnet import architecture

CUSTOM = TrainConfig(
    name="été",
    architecture=architecture.ALEXNET.at(128).with_features(conv1=7),
    init="he",
    dtype="bfloat16",
    seed=2**31 - 1,
    data=DataConfig(
        source="folder:/a b",
        val_fraction=0.5,
        train_list="train.txt",
        val_list="val.txt",
        exclude="out.txt",
        crops="random",
        balanced=True,
        mean_images=3,
        threads=2,
        cache_gib=0.5,
    ),
    optimizer=OptimizerConfig(
        learning_rate=1,
        momentum=0,
        weight_decay=0.0,
        filter_cap=0.0,
        schedule="cosine",
        factor=0.5,
        patience=1,
        warmup_steps=4,
        first_layer_rate=0.01,
        first_layer_cap=0.02,
    ),
    train=LoopConfig(
        epochs=1,
        max_steps=2,
        batch_size=8,
        checkpoint_steps=3,
        keep=4,
        snapshot_epochs=(3,),
        log_steps=5,
    ),
)


@pytest.mark.parametrize("config", [TrainConfig(), CUSTOM], ids=["default", "custom"])
def test_json_and_back(config):
    assert configs.from_json(json.loads(json.dumps(configs.to_json(config)))) == config


def test_what_json_leaves_out_is_the_default():
    config = configs.from_json({"name": "short", "data": {"threads": 3}})
    assert config == TrainConfig(name="short", data=DataConfig(threads=3))


def test_the_paper_s_values_are_the_defaults():
    optimizer, train = OptimizerConfig(), LoopConfig()
    assert (optimizer.learning_rate, optimizer.momentum, optimizer.filter_cap) == (0.01, 0.9, 0.1)
    assert optimizer.schedule == "plateau"
    assert (train.epochs, train.batch_size) == (70, 128)
    assert (DataConfig().crops, TrainConfig().init) == ("views", "paper")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"optimiser": {}}, "config key 'optimiser': expected one of name, architecture"),
        ({"optimizer": {"rate": 1}}, "config key 'rate': expected one of learning_rate, momentum"),
        ({"data": {"path": "x"}}, "config key 'path': expected one of source, val_fraction"),
        ({"train": {"steps": 1}}, "config key 'steps': expected one of epochs, max_steps"),
        ({"train": {"epochs": 0}}, "epochs = 0: expected 1 or more"),
        ({"architecture": {"name": "x"}}, "expected what to_json writes"),
    ],
)
def test_json_that_is_no_configuration_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        configs.from_json(data)


@pytest.mark.parametrize(
    ("kind", "field", "value", "form"),
    [
        (TrainConfig, "name", "", "a name without /"),
        (TrainConfig, "name", "a/b", "a name without /"),
        (TrainConfig, "name", 3, "str"),
        (TrainConfig, "init", "xavier", "one of paper, he"),
        (TrainConfig, "dtype", "float16", "one of auto, float32, bfloat16"),
        (TrainConfig, "seed", -1, r"0 up to below 2\^31"),
        (TrainConfig, "seed", 2**31, r"0 up to below 2\^31"),
        (TrainConfig, "seed", 1.0, "int"),
        (TrainConfig, "seed", True, "int"),
        (TrainConfig, "data", None, "DataConfig"),
        (DataConfig, "source", None, "str"),
        (DataConfig, "val_fraction", 0, "between 0 and 1"),
        (DataConfig, "val_fraction", 1.0, "between 0 and 1"),
        (DataConfig, "val_fraction", math.nan, "between 0 and 1"),
        (DataConfig, "train_list", 3, r"str \| None"),
        (DataConfig, "crops", "centre", "one of views, random"),
        (DataConfig, "balanced", 1, "bool"),
        (DataConfig, "mean_images", -1, "0 or more"),
        (DataConfig, "threads", -1, "0 or more"),
        (DataConfig, "threads", 1.5, "int"),
        (DataConfig, "cache_gib", -0.1, "0 or more"),
        (DataConfig, "cache_gib", math.nan, "0 or more"),
        (OptimizerConfig, "learning_rate", 0, "a number above 0"),
        (OptimizerConfig, "learning_rate", -1.0, "a number above 0"),
        (OptimizerConfig, "learning_rate", math.inf, "a number above 0"),
        (OptimizerConfig, "learning_rate", math.nan, "a number above 0"),
        (OptimizerConfig, "learning_rate", True, "float"),
        (OptimizerConfig, "learning_rate", "0.1", "float"),
        (OptimizerConfig, "momentum", 1.0, "0 up to below 1"),
        (OptimizerConfig, "momentum", -0.1, "0 up to below 1"),
        (OptimizerConfig, "weight_decay", 1.0, "0 up to below 1"),
        (OptimizerConfig, "filter_cap", -0.1, "0 or more"),
        (OptimizerConfig, "first_layer_cap", -0.1, "0 or more"),
        (OptimizerConfig, "schedule", "step", "one of plateau, cosine, constant"),
        (OptimizerConfig, "factor", 0, "between 0 and 1"),
        (OptimizerConfig, "factor", 1, "between 0 and 1"),
        (OptimizerConfig, "patience", 0, "1 or more"),
        (OptimizerConfig, "warmup_steps", -1, "0 or more"),
        (OptimizerConfig, "first_layer_rate", 0.0, "a number above 0"),
        (LoopConfig, "epochs", 0, "1 or more"),
        (LoopConfig, "max_steps", -1, "0 or more"),
        (LoopConfig, "batch_size", 0, "1 or more"),
        (LoopConfig, "checkpoint_steps", -1, "0 or more"),
        (LoopConfig, "keep", 0, "1 or more"),
        (LoopConfig, "snapshot_epochs", 5, "a tuple of int"),
        (LoopConfig, "snapshot_epochs", (1, 2.5), "a tuple of int"),
        (LoopConfig, "snapshot_epochs", (0, 1), "numbers from 1 on"),
        (LoopConfig, "log_steps", 0, "1 or more"),
    ],
)
def test_a_value_out_of_its_range_is_refused(kind, field, value, form):
    with pytest.raises(ValueError, match=rf"^{field} = .*: expected {form}$"):
        kind(**{field: value})


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem
)
def test_the_repository_s_configurations_load_and_are_named_as_their_files(path):
    config = configs.load(path)
    assert config.name == path.stem
    assert configs.from_json(json.loads(json.dumps(configs.to_json(config)))) == config


def test_a_configuration_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from zfnet_jax.config import TrainConfig\n"
        "def get_config():\n"
        "    return TrainConfig(name='own', seed=7)\n"
    )
    assert configs.load(path) == TrainConfig(name="own", seed=7)


def test_a_configuration_by_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()  # a folder of this name is no configuration
    assert configs.load("folder") == configs.load(ROOT / "configs" / "folder.py")
    with pytest.raises(ValueError, match=r"config 'folders': expected .* caltech101, folder, "):
        configs.load("folders")
    with pytest.raises(ValueError, match=r"config configs/folders: expected a Python file"):
        configs.load("configs/folders")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a Python file with get_config()"),
        ("", "KeyError: 'get_config'"),
        ("def get_config(: pass", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named"),
        ("def get_config(): return 3", "expected get_config() to return a TrainConfig"),
        (
            "from zfnet_jax.config import *\ndef get_config(): return LoopConfig(epochs=0)",
            "ValueError: epochs = 0: expected 1 or more",
        ),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_its_name(tmp_path, text, message):
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"own\.py: ") as refusal:
        configs.load(path)
    assert message in str(refusal.value)
