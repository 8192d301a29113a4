"""Everything that runs on an accelerator lowers for it, which needs no accelerator."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CLASSES, TINY
from jax import export

from zfnet_jax.config import OptimizerConfig
from zfnet_jax.data.pipeline import Batch
from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.training import optimizer
from zfnet_jax.training.step import TrainState, init_state, make_train_step
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.architecture import CHANNELS, ZFNET, Architecture
from zfnet_jax.zfnet.model import ZFNet, forward
from zfnet_jax.zfnet.units import Units

PLATFORMS = ("cpu", "cuda", "tpu")
BATCH, UNITS = 4, 6

pytestmark = pytest.mark.parametrize("arch", [TINY, ZFNET], ids=lambda arch: arch.name)


def abstract(tree):
    """The shapes and types alone: nothing is computed, however large the net."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def lower(function, *args) -> export.Exported:
    """Lowers for all platforms and says that each is in it."""
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(*args)
    assert exported.platforms == PLATFORMS
    return exported


def assert_exact(exported: export.Exported) -> None:
    """No product is left to TF32 or bfloat16, which would flip switches."""
    products = [
        line
        for line in str(exported.mlir_module()).splitlines()
        if "stablehlo.convolution" in line or "stablehlo.dot_general" in line
    ]
    assert products
    for line in products:
        assert line.count("HIGHEST") == 2, line


def net_of(arch: Architecture):
    """Abstract parameters, images and trace."""
    model = ZFNet(arch, CLASSES)
    images = jax.ShapeDtypeStruct((BATCH, arch.input_size, arch.input_size, CHANNELS), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    _, trace = jax.eval_shape(partial(forward, arch), params, images)
    return params, images, trace


def test_forward(arch):
    params, images, _ = net_of(arch)
    exported = lower(partial(forward, arch), params, images)
    assert exported.out_avals[0].shape == (BATCH, CLASSES)
    assert_exact(exported)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_training_step(arch, dtype):
    model, frame = ZFNet(arch, CLASSES, dtype=dtype), frame_size(arch.input_size)
    config = OptimizerConfig(schedule="cosine", warmup_steps=2, first_layer_rate=0.005)
    tx = optimizer.make_optimizer(config, arch, total_steps=10)
    mean = np.zeros((frame, frame, CHANNELS), np.float32)
    step = make_train_step(model, tx, Preprocessing(frame, mean), "random", seed=0)
    state = jax.eval_shape(lambda: init_state(model, tx, seed=0))
    batch = Batch(
        jax.ShapeDtypeStruct((BATCH, frame, frame, CHANNELS), jnp.uint8),
        jax.ShapeDtypeStruct((BATCH,), jnp.int32),
    )
    exported = lower(step, state, batch)
    after, _ = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    assert isinstance(after, TrainState)
    # The state has the same types after a step, whatever it computes in.
    for one, other in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    convolutions = [
        line for line in str(exported.mlir_module()).splitlines() if "stablehlo.conv" in line
    ]
    halves = [line for line in convolutions if "bf16" in line]
    assert bool(halves) == (dtype == jnp.bfloat16)


@pytest.mark.parametrize("norm", ["skip", "gradient"])
def test_project(arch, norm):
    params, _, trace = net_of(arch)
    for layer in (arch.layers[-1].name, arch.layers[-4].name):
        function = partial(deconvnet.project, arch, layer=layer, norm=norm)
        exported = lower(
            lambda params, trace, seed, function=function: function(params, trace, seed=seed),
            params,
            trace,
            abstract(trace.activations[layer]),
        )
        assert exported.out_avals[0].shape == (BATCH, arch.input_size, arch.input_size, CHANNELS)
        assert exported.out_avals[0].dtype == jnp.float32
        assert_exact(exported)


@pytest.mark.parametrize("unpool", ["add", "overwrite"])
def test_project_units(arch, unpool):
    params, _, trace = net_of(arch)
    layer = next(each.name for each in reversed(arch.layers) if arch.is_spatial(each.name))
    numbers = jax.ShapeDtypeStruct((UNITS,), jnp.int32)
    units = Units(numbers, numbers, numbers, numbers, jax.ShapeDtypeStruct((UNITS,), jnp.float32))
    exported = lower(
        lambda params, trace, units: deconvnet.project_units(
            arch, params, trace, layer, units, unpool=unpool
        ),
        params,
        trace,
        units,
    )
    field = arch.receptive_field(layer).size
    assert [each.shape for each in exported.out_avals] == [
        (UNITS, field, field, CHANNELS),
        (UNITS, 4),
    ]
    assert_exact(exported)
