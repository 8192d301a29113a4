"""The deconvnet against three implementations that share no code with it.

* A plain NumPy loop (`loops.deconvnet`).
* The vector-Jacobian product, by JAX, of a net whose ReLU has another backward rule, whose norm's
  is the identity, and whose pooling picks by given switches.
* The model's own gradient, for the options that make the deconvnet one.

All are compared on the same switches: a switch is not continuous.
"""

from functools import partial

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from conftest import CLASSES, TINY, Case, make_case, precision, random_params
from jax import Array, lax

from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.architecture import (
    ZFNET,
    ZFNET_SMALL,
    Architecture,
    ContrastNorm,
    Conv,
    Dense,
    MaxPool,
)
from zfnet_jax.zfnet.model import ZFNet
from zfnet_jax.zfnet.trace import Params, Trace
from zfnet_jax.zfnet.units import Units

BOUND = {"float32": 1e-6, "float64": 1e-12}
LAYERS = list(TINY.shapes())
each_layer = pytest.mark.parametrize(
    ("layer", "dtype"),
    # The stricter type for every layer; in the other, those above all kinds of layers.
    [*((layer, "float64") for layer in LAYERS), ("pool3", "float32"), ("fc5", "float32")],
)
SPATIAL = [name for name in LAYERS if TINY.is_spatial(name)]


@pytest.fixture(scope="session")
def small() -> Case:
    """The architecture that the repository trains, with random weights and one image."""
    return make_case(ZFNET_SMALL, num_classes=10, images=1)


def seed_for(case: Case, layer: str, dtype: str = "float32") -> np.ndarray:
    """Whole random maps, half of them negative, so that a seed that is not rectified shows."""
    shape = case.trace.activations[layer].shape
    return np.random.default_rng(7).normal(size=shape).astype(dtype)


def as_type(tree: Params | Trace, dtype: str) -> Params | Trace:
    """The same numbers in another type; switches stay as they are."""
    return jax.tree.map(lambda x: x if x.dtype == jnp.uint8 else jnp.asarray(x, dtype), tree)


# Oracle A


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def relu(x: Array, rule: str) -> Array:
    return jnp.maximum(x, 0)


def _relu_backward(rule: str, x: Array, g: Array) -> tuple[Array]:
    passed = jnp.where(x > 0, g, 0)
    return {
        "signal": (jnp.maximum(g, 0),),
        "mask": (passed,),
        "both": (jnp.maximum(passed, 0),),
        "none": (g,),
    }[rule]


relu.defvjp(lambda x, rule: (relu(x, rule), x), _relu_backward)


@jax.custom_vjp
def unseen_norm(x: Array, y: Array) -> Array:
    """y, as if it were x on the way back."""
    return y


unseen_norm.defvjp(lambda x, y: (y, None), lambda _, g: (g, jnp.zeros_like(g)))


def norm(x: Array, layer: ContrastNorm) -> Array:
    maps = np.arange(x.shape[-1])
    near = jnp.asarray(abs(maps[:, None] - maps) <= layer.size // 2, x.dtype)
    energy = jnp.dot(jnp.square(x), near, precision="highest")
    return x / (layer.k + layer.alpha / layer.size * energy) ** layer.beta


def pick(x: Array, switches: Array, layer: MaxPool) -> Array:
    """Each window's pixel that its switch names; JAX transposes it to a scatter that adds."""
    images, rows, cols, maps = np.ix_(*map(np.arange, switches.shape))
    down, right = jnp.divmod(switches.astype(jnp.int32), layer.size)
    top, left = rows * layer.stride - layer.padding, cols * layer.stride - layer.padding
    return x[images, top + down, left + right, maps]


def altered_net(
    arch: Architecture,
    params: Params,
    switches: dict[str, Array],
    images: Array,
    layer: str,
    rule: str,
    skip_norm: bool,
) -> Array:
    """The net up to a layer, in plain JAX."""
    x = images
    for each in arch.layers[: arch.index(layer) + 1]:
        if isinstance(each, Conv | Dense):
            kernel, bias = params[each.name]["kernel"], params[each.name]["bias"]
        match each:
            case Conv():
                rows = arch.shapes()[each.name][0]
                far = (rows - 1) * each.stride + each.size - x.shape[1] - each.padding
                pads = [(each.padding, far)] * 2
                y = lax.conv_general_dilated(
                    x,
                    kernel,
                    (each.stride, each.stride),
                    pads,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    precision="highest",
                )
                x = relu(y + bias, rule)
            case MaxPool():
                x = pick(x, switches[each.name], each)
            case ContrastNorm():
                x = unseen_norm(x, norm(x, each)) if skip_norm else norm(x, each)
            case Dense():
                x = jnp.dot(x.reshape(len(x), -1), kernel, precision="highest") + bias
                x = relu(x, rule) if each.relu else x
    return x


def vector_jacobian(
    case: Case, layer: str, maps: np.ndarray, rule: str = "signal", skip_norm: bool = True
) -> Array:
    """Oracle A, in the type of the maps; the caller has set whether JAX has float64."""
    # Not compiled as a whole: so all layers share the compiled operations.
    params, images = as_type((case.params, case.images), maps.dtype.name)
    forward = lambda x: altered_net(
        case.arch, params, case.trace.switches, x, layer, rule, skip_norm
    )
    return jax.vjp(forward, images)[1](jnp.asarray(maps))[0]


@each_layer
def test_projection_is_the_vector_jacobian_product_of_the_altered_net(tiny, layer, dtype):
    maps = seed_for(tiny, layer, dtype)
    with precision(dtype):
        pixels = deconvnet.project(TINY, tiny.params, tiny.trace, layer, jnp.asarray(maps))
        expected = vector_jacobian(tiny, layer, maps)
    assert pixels.dtype == dtype
    assert np.linalg.norm(expected) > 0
    assert loops.relative(pixels, expected) <= BOUND[dtype]


@pytest.mark.parametrize(
    ("layer", "dtype"),
    [("pool1", "float64"), ("conv5", "float64"), ("fc8", "float64"), ("fc8", "float32")],
)
def test_projection_is_both_oracles_for_the_small_net(small, layer, dtype):
    maps = seed_for(small, layer, dtype)
    # Operation by operation, which all layers share: compiling each walk would take long.
    with precision(dtype), jax.disable_jit():
        pixels = deconvnet.project(small.arch, small.params, small.trace, layer, jnp.asarray(maps))
        expected = vector_jacobian(small, layer, maps)
    assert np.linalg.norm(expected) > 0
    assert loops.relative(pixels, expected) <= BOUND[dtype]
    expected = loops.deconvnet(small.arch, small.params, small.trace.switches, layer, maps)
    assert loops.relative(pixels, expected) <= BOUND[dtype]


# Oracle B


@pytest.mark.parametrize(
    ("layer", "dtype", "overlap"),
    [
        *((layer, "float64", "add") for layer in LAYERS),
        ("fc5", "float32", "add"),
        ("pool1", "float64", "overwrite"),
        ("fc5", "float32", "overwrite"),
    ],
)
def test_projection_is_the_loop(tiny, layer, dtype, overlap):
    maps = seed_for(tiny, layer, dtype)
    with precision(dtype):
        pixels = deconvnet.project(
            TINY, tiny.params, tiny.trace, layer, jnp.asarray(maps), unpool=overlap
        )
    expected = loops.deconvnet(TINY, tiny.params, tiny.trace.switches, layer, maps, overlap)
    assert loops.relative(pixels, expected) <= BOUND[dtype]


def test_overwriting_shows_in_the_pixels(tiny):
    maps = jnp.abs(seed_for(tiny, "conv3"))
    added, kept = (
        deconvnet.project(TINY, tiny.params, tiny.trace, "conv3", maps, unpool=overlap)
        for overlap in ("add", "overwrite")
    )
    assert loops.relative(kept, added) > 0.05


# The gradient, guided backpropagation, and the linear path


@each_layer
def test_mask_and_norm_make_it_the_model_s_gradient(tiny, layer, dtype):
    maps = seed_for(tiny, layer, dtype)
    with precision(dtype):
        model = ZFNet(TINY, CLASSES, dtype=dtype)
        params, images = as_type((tiny.params, tiny.images), dtype)

        def forward(images: Array) -> tuple[Array, Trace]:
            trace = model.apply({"params": params}, images)[1]
            return trace.activations[layer], trace

        @jax.jit
        def gradient(images: Array, seed: Array) -> tuple[Array, Trace]:
            _, pull, trace = jax.vjp(forward, images, has_aux=True)
            return pull(seed)[0], trace

        expected, trace = gradient(images, jnp.asarray(maps))
        pixels = deconvnet.project(
            TINY, params, trace, layer, jnp.asarray(maps), rectify="mask", norm="gradient"
        )
    assert np.linalg.norm(expected) > 0
    assert loops.relative(pixels, expected) <= BOUND[dtype]


@pytest.mark.parametrize("norm", ["skip", "gradient"])
@pytest.mark.parametrize("rectify", ["signal", "mask", "both", "none"])
def test_every_option_is_the_altered_net_s(tiny, rectify, norm):
    with precision("float64"):
        params, images = as_type((tiny.params, tiny.images), "float64")
        trace = ZFNet(TINY, CLASSES, dtype=jnp.float64).apply({"params": params}, images)[1]
        case = tiny._replace(trace=trace, images=images)
        maps = seed_for(case, "fc5", "float64")
        pixels = deconvnet.project(
            TINY, params, trace, "fc5", jnp.asarray(maps), rectify=rectify, norm=norm
        )
        expected = vector_jacobian(case, "fc5", maps, rectify, norm == "skip")
    assert loops.relative(pixels, expected) <= 1e-12


def test_without_rectification_it_is_additive(tiny):
    with precision("float64"):
        a, b = seed_for(tiny, "fc4", "float64"), seed_for(tiny, "fc4", "float64")[::-1]
        project = partial(deconvnet.project, TINY, tiny.params, tiny.trace, "fc4", rectify="none")
        both = project(jnp.asarray(2 * a - 3 * b))
        apart = 2 * project(jnp.asarray(a)) - 3 * project(jnp.asarray(b))
    assert loops.relative(both, apart) <= 1e-12


# What follows from the definition


@pytest.mark.parametrize("layer", ["conv1", "norm2", "pool3", "fc4", "fc5"])
def test_projection_is_positively_homogeneous(tiny, layer):
    maps = jnp.asarray(seed_for(tiny, layer))
    project = partial(deconvnet.project, TINY, tiny.params, tiny.trace, layer)
    assert loops.relative(project(4 * maps), 4 * project(maps)) <= 1e-6
    assert not np.any(project(0 * maps))


def test_projection_is_not_additive(tiny):
    maps = np.abs(seed_for(tiny, "conv3"))
    a, b = maps.copy(), maps.copy()
    a[..., ::2], b[..., 1::2] = 0, 0
    project = partial(deconvnet.project, TINY, tiny.params, tiny.trace, "conv3")
    apart = project(jnp.asarray(a)) + project(jnp.asarray(b))
    assert loops.relative(project(jnp.asarray(maps)), apart) > 0.05


@pytest.mark.parametrize("layer", LAYERS)
def test_a_negative_seed_passes_only_where_there_is_no_relu(tiny, layer):
    maps = -jnp.abs(jnp.asarray(seed_for(tiny, layer)))
    pixels = deconvnet.project(TINY, tiny.params, tiny.trace, layer, maps)
    assert np.any(pixels) == (layer == "fc5")


def test_pixels_are_not_rectified_and_biases_do_not_matter(tiny):
    maps = jnp.asarray(seed_for(tiny, "fc5"))
    pixels = deconvnet.project(TINY, tiny.params, tiny.trace, "fc5", maps)
    assert np.min(pixels) < 0 < np.max(pixels)
    kernels = {
        name: {**layer, "bias": jnp.full_like(layer["bias"], jnp.nan)}
        for name, layer in tiny.params.items()
    }
    np.testing.assert_array_equal(deconvnet.project(TINY, kernels, tiny.trace, "fc5", maps), pixels)


def test_each_image_has_its_own_switches(tiny):
    maps = jnp.asarray(np.repeat(seed_for(tiny, "conv3")[:1], 3, axis=0))
    pixels = deconvnet.project(TINY, tiny.params, tiny.trace, "conv3", maps)
    assert loops.relative(pixels[1], pixels[0]) > 0.1
    alone = deconvnet.project(
        TINY, tiny.params, jax.tree.map(lambda x: x[1:2], tiny.trace), "conv3", maps[1:2]
    )
    assert loops.relative(alone, pixels[1:2]) <= 1e-6


def test_rectifying_comes_after_unpooling_and_before_filtering():
    """Two windows choose one pixel; one sends 3, the other -2: relu(3 - 2), not relu(3)."""
    arch = Architecture(
        "hand",
        (
            Conv("conv1", features=1, size=1),
            MaxPool("pool1", size=2, stride=1),
            Conv("conv2", features=2, size=1),
        ),
        input_size=3,
    )
    params = {
        "conv1": {"kernel": jnp.float32([0.5, 1, -2]).reshape(1, 1, 3, 1), "bias": jnp.zeros(1)},
        "conv2": {"kernel": jnp.float32([1, -1]).reshape(1, 1, 1, 2), "bias": jnp.zeros(2)},
    }
    images = jnp.zeros((1, 3, 3, 3)).at[0, 1, 1, 1].set(1.0)
    trace = ZFNet(arch, 1).apply({"params": params}, images)[1]
    np.testing.assert_array_equal(trace.switches["pool1"][0, :, :, 0], [[3, 2], [1, 0]])
    maps = jnp.zeros((1, 2, 2, 2)).at[0, 0, 0, 0].set(3.0).at[0, 0, 1, 1].set(2.0)
    pixels = deconvnet.project(arch, params, trace, "conv2", maps)
    expected = np.zeros((1, 3, 3, 3), np.float32)
    expected[0, 1, 1] = [0.5, 1, -2]
    np.testing.assert_array_equal(pixels, expected)


# Single units


def units_of(case: Case, layer: str, count: int = 6) -> Units:
    """The corners of a layer's maps, the middles of its edges, and random places."""
    rng = np.random.default_rng(3)
    rows, cols, maps = case.arch.shapes()[layer]
    last, middle = rows - 1, rows // 2
    places = [(0, 0), (0, last), (last, 0), (last, last)]
    places += [(0, middle), (middle, 0), (last, middle), (middle, last)]
    places += [(int(rng.integers(rows)), int(rng.integers(cols))) for _ in range(count)]
    row, col = np.array(places, np.int32).T
    total = len(places)
    value = rng.uniform(0.5, 2, total).astype(np.float32)
    value[-1] = -1  # Nothing passes a ReLU.
    return Units(
        image=jnp.asarray(rng.integers(0, len(case.images), total), jnp.int32),
        row=jnp.asarray(row),
        col=jnp.asarray(col),
        map=jnp.asarray(rng.integers(0, maps, total), jnp.int32),
        value=jnp.asarray(value),
    )


def crops_of_project(
    case: Case, layer: str, units: Units, boxes: np.ndarray, **options: str
) -> np.ndarray:
    """The boxes out of `project`'s pixels, one unit an image, zero outside the image."""
    trace = jax.tree.map(lambda leaf: leaf[units.image], case.trace)
    count = len(units.image)
    maps = np.zeros((count, *case.arch.shapes()[layer]), units.value.dtype)
    maps[np.arange(count), units.row, units.col, units.map] = units.value
    pixels = np.asarray(
        deconvnet.project(case.arch, case.params, trace, layer, jnp.asarray(maps), **options)
    )
    cut = [
        loops.window(pixel[None], int(top), int(left), int(size), 0)
        for pixel, (top, left, size, _) in zip(pixels, boxes, strict=True)
    ]
    # What lies outside the box is no part of the projection.
    inside = sum(np.abs(each).sum(dtype=np.float64) for each in cut)
    assert np.abs(pixels).sum(dtype=np.float64) == pytest.approx(inside, rel=1e-6)
    return np.concatenate(cut)


OPTIONS = [
    {"unpool": "overwrite"},
    {"rectify": "mask"},
    {"rectify": "both", "norm": "gradient"},
    {"rectify": "none", "unpool": "overwrite"},
    {"norm": "gradient"},
]


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        *[(layer, {}) for layer in SPATIAL],
        *[("pool3", options) for options in OPTIONS],
        ("pool1", {"unpool": "overwrite"}),
        ("norm2", {"norm": "gradient"}),
    ],
    ids=str,
)
def test_a_unit_s_patch_is_the_crop_of_its_projection(tiny, layer, options):
    units = units_of(tiny, layer)
    patches, boxes = deconvnet.project_units(TINY, tiny.params, tiny.trace, layer, units, **options)
    field = TINY.receptive_field(layer)
    assert boxes.tolist() == [
        list(field.box(int(row), int(col))) for row, col in zip(units.row, units.col, strict=True)
    ]
    assert boxes.dtype == jnp.int32
    assert patches.shape == (len(boxes), field.size, field.size, 3)
    expected = crops_of_project(tiny, layer, units, np.asarray(boxes), **options)
    for patch, crop in zip(patches, expected, strict=True):
        assert loops.relative(patch, crop) <= 1e-6


def test_windows_past_the_edge_overwrite_nothing():
    """Seven pixels hold three windows; a fourth would begin at the last pixel of the third."""
    arch = Architecture("edge", (Conv("conv1", features=2, size=1), MaxPool("pool1")), 7)
    case = make_case(arch, num_classes=1, images=8)
    image, row, col, feature = (place.ravel() for place in np.indices((8, 3, 3, 2)))
    last = np.asarray(case.trace.switches["pool1"])[:, 2]
    assert np.any(last == 6)  # The pixel where the window below it would have its first.
    units = Units(image, row, col, feature, np.ones(len(image), np.float32))
    patches, boxes = deconvnet.project_units(
        arch, case.params, case.trace, "pool1", units, unpool="overwrite"
    )
    expected = crops_of_project(case, "pool1", units, np.asarray(boxes), unpool="overwrite")
    for patch, crop in zip(patches, expected, strict=True):
        assert loops.relative(patch, crop) <= 1e-6


def test_patches_are_float64_where_the_values_are(tiny):
    units = units_of(tiny, "pool3")
    with precision("float64"):
        units = units._replace(value=jnp.asarray(units.value, jnp.float64))
        patches, boxes = deconvnet.project_units(TINY, tiny.params, tiny.trace, "pool3", units)
        expected = crops_of_project(tiny, "pool3", units, np.asarray(boxes))
    assert patches.dtype == jnp.float64
    assert loops.relative(patches, expected) <= 1e-12


def test_patches_are_zero_outside_the_image(tiny):
    units = units_of(tiny, "pool3")
    patches, boxes = deconvnet.project_units(
        TINY, tiny.params, tiny.trace, "pool3", units, rectify="none"
    )
    outside = 0
    for patch, (top, left, size, _) in zip(np.asarray(patches), boxes.tolist(), strict=True):
        rows, cols = (start + np.arange(size) for start in (top, left))
        beyond = (rows[:, None] < 0) | (rows[:, None] >= 32) | (cols < 0) | (cols >= 32)
        assert not np.any(patch[beyond])
        assert np.any(patch)
        outside += beyond.sum()
    assert outside


def test_units_may_be_numpy_arrays_of_any_integer_type(tiny):
    units = units_of(tiny, "conv3")
    as_numpy = Units(*(np.asarray(field, np.int64) for field in units[:4]), np.asarray(units.value))
    first, second = (
        deconvnet.project_units(TINY, tiny.params, tiny.trace, "conv3", each)
        for each in (units, as_numpy)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_the_paper_s_net_at_the_corners_of_conv5():
    arch = ZFNET.without("fc6", "fc7", "fc8")
    params = random_params(arch, 1)
    images = jnp.float32(np.random.default_rng(1).normal(size=(2, 224, 224, 3)))
    trace = jax.jit(ZFNet(arch, 1).apply)({"params": params}, images)[1]
    case = Case(arch, ZFNet(arch, 1), params, images, images, trace)
    units = Units(
        image=jnp.int32([0, 1, 0, 1]),
        row=jnp.int32([0, 0, 12, 12]),
        col=jnp.int32([0, 12, 0, 12]),
        map=jnp.int32([3, 255, 0, 17]),
        value=jnp.float32([1, 2, 0.5, 1]),
    )
    patches, boxes = deconvnet.project_units(arch, params, trace, "conv5", units)
    assert patches.shape == (4, 139, 139, 3)
    assert boxes.tolist() == [
        [-48, -48, 139, 139],
        [-48, 144, 139, 139],
        [144, -48, 139, 139],
        [144, 144, 139, 139],
    ]
    for patch, crop in zip(
        patches, crops_of_project(case, "conv5", units, np.asarray(boxes)), strict=True
    ):
        assert np.any(crop)
        assert loops.relative(patch, crop) <= 1e-6


# Refusals


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ("conv9", {}, "'conv9': expected one of conv1, pool1, norm1"),
        ("conv3", {"unpool": "mean"}, "unpool 'mean': expected one of add, overwrite"),
        ("conv3", {"rectify": "off"}, "rectify 'off': expected one of signal, mask, both, none"),
        ("conv3", {"norm": "off"}, "norm 'off': expected one of skip, gradient"),
    ],
)
def test_unknown_layers_and_options_are_refused(tiny, layer, options, message):
    maps = jnp.zeros((3, 7, 7, 7))
    with pytest.raises(ValueError, match=message):
        deconvnet.project(TINY, tiny.params, tiny.trace, layer, maps, **options)
    with pytest.raises(ValueError, match=message):
        deconvnet.project_units(
            TINY, tiny.params, tiny.trace, layer, units_of(tiny, "conv3"), **options
        )


@pytest.mark.parametrize("shape", [(7, 7, 7), (3, 7, 7, 6), (1, 7, 7, 7), (3, 8, 7, 7)])
def test_maps_of_another_shape_are_refused(tiny, shape):
    with pytest.raises(ValueError, match=r"expected conv3's \(3, 7, 7, 7\)"):
        deconvnet.project(TINY, tiny.params, tiny.trace, "conv3", jnp.zeros(shape))


@pytest.mark.parametrize("layer", ["fc4", "fc5"])
def test_units_of_a_dense_layer_are_refused(tiny, layer):
    with pytest.raises(ValueError, match=f"'{layer}': expected a spatial layer"):
        deconvnet.project_units(TINY, tiny.params, tiny.trace, layer, units_of(tiny, "conv3"))


def test_the_norm_s_gradient_needs_a_layer_below_it():
    arch = Architecture("norm", (ContrastNorm("norm1"), Conv("conv2", features=2, size=3)), 5)
    params = random_params(arch, 1)
    trace = ZFNet(arch, 1).apply({"params": params}, jnp.ones((1, 5, 5, 3)))[1]
    maps = jnp.ones((1, 3, 3, 2))
    assert np.any(deconvnet.project(arch, params, trace, "conv2", maps))
    with pytest.raises(ValueError, match="'norm1': expected a layer below it"):
        deconvnet.project(arch, params, trace, "conv2", maps, norm="gradient")
