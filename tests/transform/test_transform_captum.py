"""The transform against Captum's Deconvolution and GuidedBackprop, on blocks of three networks."""

from typing import Any

import blocks
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from zfnet_jax.transform.projection import count_relus, deconvnet

STORED = dict(np.load((ROOT / "tests").joinpath("captum_blocks.npz")))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@pytest.mark.parametrize("case", STORED)
def test_is_captums(case: str):
    block, rule = case.split()
    given: Any = rule
    outputs, project = deconvnet(blocks.BLOCKS[block], rule=given)(blocks.pictures())
    seed = jnp.zeros_like(outputs).at[(slice(None), *blocks.UNITS[block])].set(1)
    assert _distance(np.asarray(project(seed)), STORED[case]) < 1e-6


@pytest.mark.parametrize("block", blocks.BLOCKS)
def test_the_rules_differ_there(block: str):
    assert _distance(STORED[f"{block} deconvnet"], STORED[f"{block} guided"]) > 0.1
    assert count_relus(blocks.BLOCKS[block], blocks.pictures()) > 1


@pytest.mark.filterwarnings("ignore:Setting .* hooks on ReLU activations:UserWarning")
def test_what_is_stored_is_what_captum_says():
    pytest.importorskip("captum")
    import captum_blocks

    for case, signal in captum_blocks.attributions().items():
        assert _distance(signal, STORED[case]) < 1e-6
