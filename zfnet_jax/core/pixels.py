"""Numbers to pixels."""

import numpy as np


def raw_to_pixels(images: np.ndarray) -> np.ndarray:
    """Shows raw values, 0..255 of any type, as uint8."""
    return np.clip(images, 0, 255).round().astype(np.uint8)
