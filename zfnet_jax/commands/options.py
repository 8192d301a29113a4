"""The options that several commands share: one name, one type and one help text for each."""

from pathlib import Path
from typing import Annotated, Any

import tyro

NET = (
    "a training run's folder, a step in it, a .safetensors file, or the name of a net that comes "
    "with the package"
)

Checkpoint = Annotated[Path, tyro.conf.arg(metavar="NET", help=f"{NET}.")]

Checkpoints = Annotated[
    tuple[Path, ...],
    tyro.conf.arg(metavar="NET [NET ...]", help=f"nets, which may be of different classes: {NET}."),
]

Images = Annotated[
    tuple[Path, ...],
    tyro.conf.arg(
        metavar="FILE_OR_FOLDER ...",
        help="pictures to look at; by default the net's own validation set.",
    ),
]

Labels = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        metavar="CLASS ...",
        aliases=["--class"],
        help="the correct class, one for all pictures or one for each; by default the data set's, "
        "or the name of the picture's folder where it is a class of the net, else the class that "
        "the net predicts.",
    ),
]

Layer = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="LAYER", help="the name of a layer, such as conv5; by default the last convolution."
    ),
]

Layers = Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER ...", help="the names of layers.")]
"""A command that takes several layers says which are the default in its own help text."""

Maps = Annotated[
    tuple[int, ...],
    tyro.conf.arg(
        metavar="NUMBER ...", help="the numbers of feature maps; by default --count chooses them."
    ),
]

Top = Annotated[
    int, tyro.conf.arg(help="images for each feature map, those of the strongest activations.")
]

BatchSize = Annotated[int, tyro.conf.arg(help="images that the net sees at a time.")]

Overwrite = Annotated[bool, tyro.conf.arg(help="replace the output folder if it exists.")]


def out_by_default(folder: str) -> Any:
    """An annotation of --out.

    Args:
      folder: where the command writes without it, in words.
    """
    return tyro.conf.arg(metavar="FOLDER", help=f"the folder to write to; by default {folder}.")


Out = Annotated[Path | None, out_by_default("one of the command's name in the run's folder")]
