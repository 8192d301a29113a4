"""The pictures of a finished training run: its curves and its first-layer filters."""

from pathlib import Path

from zfnet_jax.core.files import output_folder
from zfnet_jax.report import pictures, plots
from zfnet_jax.training import checkpoint, metrics


def draw_training_run(run: Path) -> None:
    """Writes curves.png and filters.png into the folder of a training run.

    Args:
      run: the folder, with at least one checkpoint.

    Raises:
      ValueError: there is no checkpoint that can be used.
    """
    net = checkpoint.load(run)
    first = net.architecture.convolutions[0].name
    with output_folder(run) as folder:
        plots.training_curves(metrics.read(run), folder / "curves.png")
        pictures.save(folder / "filters.png", pictures.filter_sheet(net.rgb_kernel(first)))
