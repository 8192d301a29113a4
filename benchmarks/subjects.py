"""What benchmarks look at and with: photographs that a package ships, and a random net."""

import jax
import numpy as np
from PIL import Image
from skimage import data as photographs

from zfnet_jax.data.preprocessing import Preprocessing, frame_size
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import CHANNELS, Architecture
from zfnet_jax.zfnet.model import ZFNet

CLASSES = 1000
MEAN = 127.5
DEVIATION = 60.0
"""Of network-space pixels, roughly; the first layer's weights are drawn for it."""

_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")


def cuts(size: int, count: int) -> np.ndarray:
    """Squares cut from scikit-image's photographs at random places and sizes, resized.

    Args:
      size: width and height in pixels.
      count: how many.

    Returns:
      (count, size, size, 3) uint8.
    """
    rng = np.random.default_rng(0)
    whole = [Image.fromarray(getattr(photographs, name)()) for name in _PHOTOGRAPHS]
    squares = []
    for number in range(count):
        picture = whole[number % len(whole)]
        side = int(min(picture.size) * rng.uniform(0.4, 1))
        left, top = (int(rng.integers(0, room - side + 1)) for room in picture.size)
        square = picture.resize((size, size), box=(left, top, left + side, top + side))
        squares.append(np.asarray(square))
    return np.stack(squares)


def random_net(arch: Architecture, *, cropped: bool = False) -> Net:
    """A net as training would begin it, by He's rule.

    Args:
      arch: the layers.
      cropped: whether pictures are brought to the paper's frame and cropped, or taken whole.
    """
    images = jax.numpy.zeros((1, arch.input_size, arch.input_size, CHANNELS))
    model = ZFNet(arch, CLASSES, initializer="he", input_standard_deviation=DEVIATION)
    params = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0), images)["params"])
    frame = frame_size(arch.input_size) if cropped else arch.input_size
    preprocessing = Preprocessing(frame, np.full((1, 1, CHANNELS), MEAN, np.float32))
    names = tuple(map(str, range(CLASSES)))
    return Net(arch, params, preprocessing, names, step=0)
