"""Mining an image set with a trained net, in a pass that can be stopped and goes on.

Zeiler & Fergus 2014, section 4 and Fig 2. The net sees the centre view of each picture.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from zfnet_jax.core import identity as identities
from zfnet_jax.core import signals
from zfnet_jax.core.batches import multiple_of
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.features import mining
from zfnet_jax.features.mining import LayerStatistics
from zfnet_jax.networks import net as nets
from zfnet_jax.networks.function import network_of_raw
from zfnet_jax.networks.net import Net

SAVE_EVERY = 50  # batches between two saves of a long pass


def whole_batch(image_set: ImageSet, batch_size: int) -> int:
    """The size of a batch: not more than there are pictures, and a multiple of the devices."""
    return multiple_of(min(batch_size, len(image_set)), jax.local_device_count())


def numbered_batches(
    image_set: ImageSet, batch_size: int, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The raw pictures from a number on, in batches of one size.

    Args:
      image_set: the pictures.
      batch_size: pictures a batch.
      first: the number of the first picture.

    Yields:
      The pictures, (batch_size, frame, frame, 3) uint8; their numbers, -1 for rows that only fill
      the last batch; their labels.
    """
    items = np.arange(first, len(image_set))
    for batch in all_batches(image_set, batch_size=batch_size, items=items):
        numbers = first + np.arange(batch_size)
        yield batch.frames, np.where(numbers < len(image_set), numbers, -1), batch.labels
        first += batch_size


def mine_image_set(
    net: Net,
    image_set: ImageSet,
    layers: Sequence[str],
    k: int,
    *,
    batch_size: int = 32,
    progress: Path | None = None,
) -> dict[str, LayerStatistics]:
    """The top k images of every map of some layers.

    Args:
      net: the net.
      image_set: the pictures; the net sees the centre view of each.
      layers: their names.
      k: how many images are kept for each map.
      batch_size: images a step.
      progress: a file for the tables so far, written every `SAVE_EVERY` batches, to go on from.
        Where it is of another net, image set or choice of layers, mining begins anew, which is
        said.

    Returns:
      By layer, the tables.

    Raises:
      Stopped: a signal stopped it; what was mined is saved.
    """
    identity = _identity(net, image_set, layers, k)
    state, done = (_resume(progress, identity) if progress else None) or (None, 0)
    total, size, saved = len(image_set), whole_batch(image_set, batch_size), done
    function = network_of_raw(net)
    batches = numbered_batches(image_set, size, first=done)
    with tqdm(
        batches,
        "looking at pictures",
        total=-(-total // size),
        initial=done // size,
        disable=None,
        leave=False,
        unit="batch",
    ) as bar:
        coming = iter(bar)

        def until_saving() -> Iterator[Any]:
            """The batches up to the next saving: fewer where a signal comes."""
            nonlocal done
            try:
                for batch in islice(coming, SAVE_EVERY):
                    yield batch
                    done = min(done + size, total)
            except signals.Stopped:
                if done == saved:
                    raise

        with signals.saving(lambda: progress is not None and done != saved):
            while done < total:
                signals.check(saved=progress is not None and done > 0)
                state = mining.mine(function, until_saving(), layers, k, state=state)
                if progress:
                    mining.save(progress, state, done, identity)
                    saved = done
    assert state is not None
    return state


def _resume(
    progress: Path, identity: dict[str, Any]
) -> tuple[dict[str, LayerStatistics], int] | None:
    """What an earlier pass left; None, which is said, where it cannot be gone on from."""
    try:
        return mining.load(progress, identity)
    except ValueError as error:
        print(f"warning: {error}; mining begins anew", file=sys.stderr)
        return None


def _identity(net: Net, image_set: ImageSet, layers: Sequence[str], k: int) -> dict[str, Any]:
    """What must be the same for a pass to go on: the net, the pictures, the layers and k."""
    source = image_set.source
    arrays = {"params": net.params, "mean": net.preprocessing.mean}
    return {
        "net": identities.of_arrays(arrays),
        "preprocessing": nets.to_json(net)["preprocessing"],
        "pictures": [len(source), source.identity],
        "layers": list(layers),
        "top": k,
    }
