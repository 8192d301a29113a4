"""Table 3's models and the paper's conclusions, as arithmetic; and the table made of them."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from zfnet_jax import config as configs
from zfnet_jax.config import LoopConfig, OptimizerConfig, TrainConfig, recipe
from zfnet_jax.data.pipeline import Batch
from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.experiments import ablation
from zfnet_jax.experiments import ablation_tables as report
from zfnet_jax.experiments.ablation import ABLATIONS, Errors, choose, krizhevsky
from zfnet_jax.experiments.conclusions import CONCLUSIONS, Judgement, judge
from zfnet_jax.report.tables import percent
from zfnet_jax.training.optimizer import make_optimizer
from zfnet_jax.training.step import init_state, make_train_step
from zfnet_jax.zfnet.architecture import (
    ALEXNET,
    ZFNET,
    ZFNET_128,
    ZFNET_SMALL,
    ZFNET_WIDE,
    Conv,
    Dense,
)
from zfnet_jax.zfnet.model import ZFNet

BY_NAME = {each.name: each for each in ABLATIONS}
CONFIG = configs.load(ROOT / "configs" / "ablation_caltech101.py")
PAPER = {each.name: each.paper for each in ABLATIONS}

ROWS = """
replication of Krizhevsky             35.1 40.5 18.1 62,378,344
- layers 3,4 removed                  41.8 45.4 22.1 59,870,824
- layer 7 removed                     27.4 40.0 18.4 45,597,032
- layers 6,7 removed                  27.4 44.8 22.4 12,964,200
- layers 3,4,6,7 removed              71.1 71.3 50.1 10,456,680
- layers 6,7 of half the width        40.3 41.7 18.8 28,868,968
- layers 6,7 of double the width      26.8 40.0 18.1 154,562,920
Fig 3                                 33.1 38.4 16.5 62,357,608
- layers 6,7 of half the width        38.2 40.2 17.6 28,848,232
- layers 6,7 of double the width      22.0 38.8 17.0 154,542,184
- wider layers 3,4,5                  18.8 37.5 16.0 107,627,624
- both of the last two                10.0 38.3 16.9 237,560,936
"""
"""Table 3, typed from the paper a second time; parameters counted by hand."""


def widths(arch) -> dict[str, int | None]:
    return {each.name: each.features for each in arch if isinstance(each, Conv | Dense)}


# The models


def test_the_rows_are_the_papers():
    lines = [line.rsplit(maxsplit=4) for line in ROWS.strip().splitlines()]
    for each, (title, *errors, parameters) in zip(ABLATIONS, lines, strict=True):
        assert each.title == title
        assert each.paper == pytest.approx([float(error) / 100 for error in errors])
        assert each.paper_parameters == int(parameters.replace(",", ""))


@pytest.mark.parametrize("each", ABLATIONS, ids=BY_NAME)
def test_at_the_papers_size_the_models_have_the_papers_parameters(each):
    assert each.of(ZFNET).parameter_count(1000) == each.paper_parameters


def test_at_the_papers_size_they_are_the_named_nets():
    assert krizhevsky(ZFNET) == ALEXNET
    assert BY_NAME["alexnet"].of(ZFNET) == ALEXNET
    assert BY_NAME["zfnet"].of(ZFNET) == ZFNET
    assert BY_NAME["zfnet-wide-3-4-5"].of(ZFNET).layers == ZFNET_WIDE.layers
    for name, width in (("alexnet-half-6-7", 2048), ("zfnet-double-6-7", 8192)):
        found = widths(BY_NAME[name].of(ZFNET))
        assert (found["fc6"], found["fc7"]) == (width, width)
    left = [layer.name for layer in BY_NAME["alexnet-without-3-4-6-7"].of(ZFNET)]
    assert [name for name in left if name.startswith(("conv", "fc"))] == [
        *("conv1", "conv2", "conv5"),
        "fc8",
    ]


def test_a_smaller_net_is_edited_in_the_same_proportions():
    small = ZFNET_SMALL.with_features(conv3=96, conv4=96, conv5=63, fc6=251, fc7=100)
    both = widths(BY_NAME["zfnet-wide-3-4-5-double-6-7"].of(small))
    assert both == {
        **{"conv1": 32, "conv2": 64, "conv3": 128, "conv4": 256, "conv5": 126},
        **{"fc6": 502, "fc7": 200, "fc8": None},
    }
    half = widths(BY_NAME["alexnet-half-6-7"].of(small))
    assert (half["fc6"], half["fc7"], half["conv5"]) == (126, 50, 63)  # 125.5 to the even number
    assert {each.of(small).input_size for each in ABLATIONS} == {64}
    assert len({each.of(small).name for each in ABLATIONS}) == len(ABLATIONS)


@pytest.mark.parametrize(
    ("net", "size", "stride", "padding"),
    [(ZFNET_SMALL, 7, 1, 1), (ZFNET_128, 11, 2, 2), (ZFNET_SMALL.edit("conv2", stride=3), 7, 3, 1)],
)
def test_the_alexnet_of_a_smaller_net(net, size, stride, padding):
    made = krizhevsky(net)
    first, second = made["conv1"], made["conv2"]
    assert (first.size, first.stride) == (size, stride)
    assert (second.size, second.stride, second.padding) == (net["conv2"].size, 1, padding)
    assert [layer.name for layer in made] == [layer.name for layer in ALEXNET]
    assert widths(made) == widths(net)


def test_the_two_nets_of_the_configuration_have_maps_of_one_size():
    net = configs.load(ROOT / "configs" / "ablation_caltech101.py").architecture
    one, other = (BY_NAME[name].of(net).shapes() for name in ("alexnet", "zfnet"))
    for layer in ("pool2", "conv5", "pool5", "fc6"):
        assert one[layer] == other[layer]


@pytest.mark.parametrize("each", ABLATIONS, ids=BY_NAME)
def test_the_models_of_the_configuration_can_be_trained(each):
    arch = each.of(CONFIG.architecture)
    model, frame = ZFNet(arch, 101), frame_size(arch.input_size)
    tx = make_optimizer(CONFIG.optimizer, arch, total_steps=1)
    mean = np.zeros((frame, frame, 3), np.float32)
    step = make_train_step(model, tx, Preprocessing(frame, mean), "random", seed=0)
    batch = Batch(np.zeros((8, frame, frame, 3), np.uint8), np.zeros(8, np.int32))
    before = jax.eval_shape(lambda: init_state(model, tx, seed=0))
    after, _ = jax.eval_shape(step, before, batch)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, before)


def test_a_net_of_other_layers_is_refused():
    with pytest.raises(ValueError, match="architecture 'alexnet': expected the layers of Fig 3, c"):
        ABLATIONS[0].of(ALEXNET)
    with pytest.raises(ValueError, match="expected the layers of Fig 3, conv1, pool1, norm1, conv"):
        ABLATIONS[0].of(ZFNET.without("fc7"))


def test_models_are_chosen_by_name_in_the_tables_order():
    assert choose(()) == ABLATIONS
    assert choose(("zfnet", "alexnet")) == (BY_NAME["alexnet"], BY_NAME["zfnet"])
    with pytest.raises(ValueError, match="model 'vgg': expected one of alexnet, alexnet-without-3"):
        choose(("zfnet", "vgg"))


def test_a_recipe_is_what_makes_a_net_but_for_its_name_and_seed():
    config = TrainConfig(optimizer=OptimizerConfig(momentum=0.8), train=LoopConfig(epochs=3))
    found = recipe(config)
    assert (found["optimizer.momentum"], found["train.epochs"]) == (0.8, 3)
    assert found["architecture"] == configs.to_json(config)["architecture"]
    other = replace(config, name="other", seed=5, train=LoopConfig(epochs=3, keep=7, log_steps=1))
    assert recipe(other) == found
    assert recipe(replace(config, init="he")) != found


def test_seconds_are_those_of_the_training_steps(tmp_path: Path):
    values = {"epoch": 1.0, "loss": 1.0, "top1": 0.5, "top5": 1.0, "learning_rate": 0.1}
    lines = [
        {"step": 10, "split": "train", "images_per_second": 40.0, **values},
        {"step": 10, "split": "val", "images_per_second": 1.0, "per_class": 0.5, **values},
        {"step": 25, "split": "train", "images_per_second": 8.0, **values},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ablation.seconds_of(tmp_path, batch_size=8) == 8 * (10 / 40 + 15 / 8)


# The conclusions


def test_the_papers_conclusions_hold_in_the_paper():
    judged = judge({0: PAPER})
    assert [each.text for each in judged] == [each.text for each in CONCLUSIONS]
    for each in judged:
        assert each.margins == (each.paper,)
        assert each.paper > 0
        assert each.verdict == "holds (one seed)"


@pytest.mark.parametrize(
    ("number", "margin"),
    # From the percentages of Table 3.
    [
        (0, 40.5 - 38.4),
        (1, (71.3 - 40.5) / 2 - (45.4 - 40.5)),
        (2, (71.3 - 40.5) / 2 - (44.8 - 40.5)),
        (3, (71.3 - 40.5) - (45.4 - 40.5) - (44.8 - 40.5)),
        (4, (44.8 - 40.5) - (41.7 - 40.5)),
        (5, (44.8 - 40.5) - (40.5 - 40.0)),
        (6, 38.4 - 37.5),
        (7, 18.8 - 10.0),
        (8, 38.3 - 37.5),
    ],
)
def test_margins_by_hand(number, margin):
    assert 100 * judge({0: PAPER})[number].paper == pytest.approx(margin)


def test_each_seed_is_compared_with_itself():
    """Seeds whose errors lie far apart do not blur a difference that all of them show."""
    seeds = {
        seed: {
            "zfnet": Errors(0, level, 0),
            "zfnet-wide-3-4-5": Errors(0, level - 0.02 - 0.001 * seed, 0),
        }
        for seed, level in enumerate((0.5, 0.3, 0.8))
    }
    (wider,) = (each for each in judge(seeds) if each.text == "wider 3,4,5 help")
    assert wider.margins == pytest.approx((0.02, 0.021, 0.022))
    assert wider.verdict == "holds"


def test_seeds_without_all_models_do_not_count():
    seeds = {0: PAPER, 1: {"alexnet": Errors(0, 0, 0)}, 2: {"zfnet": Errors(0, 0, 0)}}
    assert {len(each.margins) for each in judge(seeds)} == {1}
    assert {each.verdict for each in judge({1: seeds[1]})} == {"models missing"}


@pytest.mark.parametrize(
    ("margins", "verdict"),
    [
        ((0.01,), "holds (one seed)"),
        ((-0.01,), "does not hold (one seed)"),
        # Of two the t distribution's quantile is 12.71: 0.02 against 0.127, then against 0.0127.
        ((0.01, 0.03), "undecided (2 seeds)"),
        ((0.019, 0.021), "holds"),
        ((-0.019, -0.021), "does not hold"),
        # Of three it is 4.303: 0.02 against 4.303 * 0.01 / sqrt(3) = 0.0248, then 0.0124.
        ((0.01, 0.02, 0.03), "undecided (3 seeds)"),
        ((0.015, 0.02, 0.025), "holds"),
    ],
)
def test_verdicts(margins, verdict):
    assert Judgement("", margins, (), 0.0).verdict == verdict
    assert Judgement("", margins, (0.1,) * len(margins), 0.0).verdict == verdict


def test_there_is_nothing_to_conclude_where_removing_layers_helps():
    """Its cost is then less than nothing, so that half of it is more."""
    errors = {name: Errors(0, 0.5, 0) for name in PAPER}
    errors["alexnet-without-6-7"] = errors["alexnet-without-3-4-6-7"] = Errors(0, 0.3, 0)
    verdicts = [each.verdict for each in judge({0: errors, 1: errors})]
    assert verdicts[1:6] == ["no subject: removing them costs nothing"] * 5
    assert "no subject" not in " ".join(verdicts[:1] + verdicts[6:])


# The table


def part(model: str, seed: int, *errors: float) -> dict:
    return {
        **{"model": model, "seed": seed, **Errors(*errors)._asdict()},
        **{"parameters": 1234567, "seconds": 90.0, "hardware": "one"},
    }


PARTS = [
    part("zfnet", 1, 0.1, 0.42, 0.2),
    part("zfnet", 0, 0.1, 0.4, 0.2),
    part("alexnet", 0, 0.1, 0.5, 0.2),
]


def test_the_table_has_the_papers_numbers_beside():
    lines = report.table(PARTS).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in lines[:4]}) == 1  # aligned
    assert cells[2] == [
        *("replication of Krizhevsky", "1", "10.0", "50.0", "20.0", "35.1", "40.5", "18.1"),
        *("1,234,567", "62,378,344", "1.5"),
    ]
    assert cells[3] == [
        *("Fig 3", "2", "10.0 ± 0.0", "41.0 ± 1.4", "20.0 ± 0.0", "33.1", "38.4", "16.5"),
        *("1,234,567", "62,357,608", "1.5"),
    ]
    (conclusion,) = cells[7:]
    assert conclusion == [CONCLUSIONS[0].text, "+10.0", "+2.1", "holds (one seed)"]


def test_a_table_of_one_model_concludes_nothing():
    assert "conclusion" not in report.table(PARTS[:2])


def test_the_numbers_as_data():
    data = report.to_json(PARTS)
    assert json.loads(json.dumps(data)) == data
    alexnet, zfnet = data["models"]
    assert (zfnet["name"], zfnet["seeds"]) == ("zfnet", [0, 1])
    assert zfnet["mean"]["val_top1"] == pytest.approx(0.41)
    assert zfnet["spread"]["val_top1"] == pytest.approx(0.02 / 2**0.5)
    assert alexnet["spread"]["val_top1"] is None
    assert zfnet["parameters_at_1000_classes"] == zfnet["paper"]["parameters"]
    assert data["conclusions"][0]["mean"] == pytest.approx(0.1)
    assert data["conclusions"][1]["mean"] is None
    assert data["runs"] == PARTS


def test_the_figure(tmp_path: Path):
    path = tmp_path / "table.png"
    widths = []
    for paper in (False, True):
        report.plot(PARTS, "mine", path, paper=paper)
        with Image.open(path) as picture:
            widths.append(picture.width)
    assert 600 < widths[0] < 1000 < widths[1]  # the paper's panel comes only where it is asked for


def test_percent():
    assert percent(0.4567, 0.0123) == "45.7 ± 1.2"
    assert percent(0.4567, None, sign="+") == "+45.7"
