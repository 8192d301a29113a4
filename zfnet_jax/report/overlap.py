"""Pairs of near-duplicates as a page: each pair's two pictures side by side, best first."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from zfnet_jax.core.files import write_text
from zfnet_jax.data.decode import decode
from zfnet_jax.data.source import Source
from zfnet_jax.report.templating import environment

_SHOWN = 160  # pixels, the side of a picture on the page


class Shown(NamedTuple):
    """A pair on the page: the pictures' numbers and names, and how alike they are."""

    items: tuple[int, int]
    names: tuple[str, str]
    correlation: float
    mirrored: bool


def write_page(
    path: Path,
    titles: tuple[str, str],
    sources: tuple[Source, Source],
    pairs: Sequence[Shown],
    total: int,
    threshold: float,
    excluded: Sequence[tuple[str, float]],
) -> None:
    """Writes the page, with the pictures in it: the centre squares, which are what is compared.

    Args:
      path: the page to write.
      titles: what the two collections are called.
      sources: their pictures.
      pairs: those to show, best first.
      total: how many there are.
      threshold: the least correlation of a pair.
      excluded: the lines of exclude.txt, and the highest correlation of each; the page writes them
        anew for a higher threshold.
    """
    views = [
        {
            **pair._asdict(),
            "pictures": [
                _picture(source, item) for source, item in zip(sources, pair.items, strict=True)
            ],
        }
        for pair in pairs
    ]
    page = environment().get_template("overlap.html")
    text = page.render(
        titles=titles, views=views, total=total, threshold=threshold, excluded=excluded
    )
    write_text(path, text)


def _picture(source: Source, item: int) -> str:
    file = io.BytesIO()
    Image.fromarray(decode(source[item].image, _SHOWN)).save(file, "WEBP", quality=75)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
