import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from conftest import CLASSES, TINY, Case

from zfnet_jax.zfnet.architecture import ALEXNET, ZFNET, Architecture, Conv, Dense
from zfnet_jax.zfnet.model import Trace, ZFNet
from zfnet_jax.zfnet.trace import Params

# All that an initialisation can get wrong, with enough weights in each layer to tell.
PLAIN = Architecture(
    "plain",
    (
        Conv("conv1", features=64, size=7),
        Conv("conv2", features=64, size=5),
        Dense("fc3", features=256),
        Dense("fc4", features=None, relu=False, dropout=0.0),
    ),
    input_size=13,
)


def init(arch: Architecture, num_classes: int = 50, seed: int = 0, **fields) -> Params:
    model = ZFNet(arch, num_classes, **fields)
    image = jnp.zeros((1, arch.input_size, arch.input_size, 3))
    return jax.jit(model.init)(jax.random.key(seed), image)["params"]


@pytest.mark.parametrize("arch", [TINY, ZFNET, ALEXNET], ids=lambda arch: arch.name)
def test_parameters_are_the_architecture_s(arch):
    model = ZFNet(arch, num_classes=10)
    image = jnp.zeros((1, arch.input_size, arch.input_size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert set(variables) == {"params"}
    shapes = {
        name: {"kernel": kernel, "bias": kernel[-1:]}
        for name, kernel in arch.kernel_shapes(10).items()
    }
    assert jax.tree.map(lambda leaf: leaf.shape, variables["params"]) == shapes
    leaves = jax.tree.leaves(variables)
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert sum(leaf.size for leaf in leaves) == arch.parameter_count(10)


def deviations(params: Params) -> dict[str, float]:
    for layer in params.values():
        assert not np.any(layer["bias"])
        mean, deviation = np.mean(layer["kernel"]), np.std(layer["kernel"])
        assert abs(mean) < 5 * deviation / layer["kernel"].size ** 0.5
    return {name: float(np.std(layer["kernel"])) for name, layer in params.items()}


def test_the_paper_s_initialisation():
    for name, deviation in deviations(init(PLAIN)).items():
        assert deviation == pytest.approx(0.01, rel=0.03), name


def test_he_initialisation_divides_the_input_s_deviation_out_and_keeps_the_last_layer_small():
    found = deviations(init(PLAIN, initializer="he", input_standard_deviation=60.0))
    assert found == pytest.approx(
        {
            "conv1": (2 / (7 * 7 * 3)) ** 0.5 / 60,
            "conv2": (2 / (5 * 5 * 64)) ** 0.5,
            "fc3": (2 / (3 * 3 * 64)) ** 0.5,
            "fc4": 0.01,
        },
        rel=0.03,
    )


def test_the_paper_s_initialisation_knows_nothing_of_the_input():
    assert deviations(init(PLAIN, input_standard_deviation=60.0))["conv1"] == pytest.approx(
        0.01, rel=0.03
    )


def test_initialisation_follows_from_the_key_and_differs_by_layer():
    first, again, other = init(PLAIN), init(PLAIN), init(PLAIN, seed=1)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for name in first:
        assert np.any(first[name]["kernel"] != other[name]["kernel"])
    corner = [np.asarray(layer["kernel"]).ravel()[0] for layer in first.values()]
    assert len(set(corner)) == len(corner)


def test_the_forward_pass_is_the_loops(tiny):
    outputs, switches = loops.forward(tiny.arch, tiny.params, tiny.images)
    assert set(tiny.trace.activations) == set(outputs)
    for name, expected in outputs.items():
        assert np.linalg.norm(expected) > 0
        assert loops.relative(tiny.trace.activations[name], expected) <= 1e-6, name
    assert set(tiny.trace.switches) == set(switches)
    for name, expected in switches.items():
        # Switches are not continuous: rounding may choose the other of two close values.
        assert np.mean(tiny.trace.switches[name] != expected) < 1e-3


def test_the_trace_has_every_layer_s_shape(tiny):
    shapes = {name: value.shape for name, value in tiny.trace.activations.items()}
    assert shapes == {name: (3, *shape) for name, shape in TINY.shapes(CLASSES).items()}
    for name, switches in tiny.trace.switches.items():
        assert switches.shape == shapes[name]
        assert switches.dtype == jnp.uint8
    assert set(tiny.trace.switches) == {"pool1", "pool3"}
    assert all(len(leaf) == 3 for leaf in jax.tree.leaves(tiny.trace))
    assert isinstance(tiny.trace, Trace)


def test_activations_are_rectified_but_for_the_logits(tiny):
    for name, value in tiny.trace.activations.items():
        assert (np.min(value) < 0) == (name == "fc5"), name
    np.testing.assert_array_equal(tiny.trace.activations["fc5"], tiny.logits)
    assert tiny.logits.shape == (3, CLASSES)


def test_an_image_s_trace_does_not_depend_on_its_neighbours(tiny):
    logits, trace = jax.jit(tiny.model.apply)({"params": tiny.params}, tiny.images[1:2])
    np.testing.assert_allclose(logits, tiny.logits[1:2], rtol=1e-5, atol=1e-6)
    for name, switches in trace.switches.items():
        assert np.mean(switches != tiny.trace.switches[name][1:2]) < 1e-3


def test_logits_and_parameters_are_float32_where_the_computation_is_not(tiny):
    model = ZFNet(TINY, CLASSES, dtype=jnp.bfloat16)
    logits, trace = jax.jit(model.apply)({"params": tiny.params}, tiny.images)
    assert logits.dtype == jnp.float32
    assert {value.dtype for value in trace.activations.values()} == {jnp.dtype("bfloat16")}
    assert loops.relative(logits, tiny.logits) < 0.05
    params = init(PLAIN, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def logits_in_training(case: Case, key: int) -> jax.Array:
    rngs = {"dropout": jax.random.key(key)}
    return case.model.apply({"params": case.params}, case.images, train=True, rngs=rngs)[0]


def test_dropout_is_keyed_and_in_training_alone(tiny):
    first, again, other = (logits_in_training(tiny, key) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert np.any(first != tiny.logits)
    still = tiny.model.apply({"params": tiny.params}, tiny.images)[0]
    np.testing.assert_allclose(still, tiny.logits, rtol=1e-5, atol=1e-6)


def test_dropout_doubles_or_drops_what_the_next_layer_sees():
    arch = Architecture(
        "dense", (Dense("fc1", features=2000), Dense("fc2", features=None, relu=False)), 2
    ).edit("fc2", dropout=0.0)
    params = {
        "fc1": {"kernel": jnp.zeros((12, 2000)), "bias": jnp.ones(2000)},
        "fc2": {"kernel": jnp.eye(2000), "bias": jnp.zeros(2000)},
    }
    logits, trace = ZFNet(arch, 2000).apply(
        {"params": params},
        jnp.zeros((2, 2, 2, 3)),
        train=True,
        rngs={"dropout": jax.random.key(0)},
    )
    assert set(np.unique(logits)) == {0, 2}
    assert np.mean(logits == 0) == pytest.approx(0.5, abs=0.05)
    assert np.any(logits[0] != logits[1])  # Drawn for each image.
    np.testing.assert_array_equal(trace.activations["fc1"], jnp.ones((2, 2000)))


@pytest.mark.parametrize("shape", [(1, 31, 32, 3), (1, 32, 32, 1), (32, 32, 3), (1, 224, 224, 3)])
def test_images_of_another_size_are_refused(tiny, shape):
    with pytest.raises(ValueError, match=r"expected \(N, 32, 32, 3\)"):
        tiny.model.apply({"params": tiny.params}, jnp.zeros(shape))
