"""Photographs that come inside Python packages, for a first look at a net without pictures.

All are in the public domain or under CC0: Grace Hopper by the US Navy; from scikit-image, as its
documentation says, an astronaut by NASA, a cat (Chelsea) by Stefan van der Walt, a cup of coffee by
Rachel Michetti and a rocket by SpaceX.
"""

import importlib.util
from pathlib import Path

_FILES = {
    "skimage": ("data/astronaut.png", "data/chelsea.png", "data/coffee.png", "data/rocket.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}


def sample_pictures() -> list[Path]:
    """The photographs that are there: five with scikit-image, else one of Matplotlib's."""
    paths = []
    for package, files in _FILES.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            paths += [Path(folder, file) for file in files]
    return [path for path in paths if path.is_file()]
