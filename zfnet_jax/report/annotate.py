"""A page on which one marks parts in pictures and downloads the file of boxes."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from zfnet_jax.core.files import write_text
from zfnet_jax.data.decode import decode
from zfnet_jax.data.picture_size import picture_size
from zfnet_jax.report.templating import environment

PARTS = ("right eye", "left eye", "nose")
"""The paper's, which the page begins with; more are added on it."""

_SHOWN = 640  # pixels, the largest side of a picture on the page


def write_annotation_page(
    path: Path, title: str, files: Sequence[Path], names: Sequence[str], share: float
) -> None:
    """Writes the page, with the pictures in it.

    It shows the largest centred square of each, and how much of it a net sees: only there can a
    part be marked. Its boxes are in pixels of the files, as `data.parts.read_boxes` reads them.

    Args:
      path: the page to write.
      title: what the pictures are called together.
      files: readable pictures.
      names: what the file of boxes calls each.
      share: how much of a square's side the net sees, 0..1.
    """
    env = environment()
    pictures = [_picture(file, name) for file, name in zip(files, names, strict=True)]
    page = env.get_template("annotate.html").render(
        title=title, pictures=pictures, parts=PARTS, share=share
    )
    write_text(path, page)


def _picture(file: Path, name: str) -> dict[str, Any]:
    encoded = file.read_bytes()
    high, wide = picture_size(encoded)
    side = min(high, wide)
    shown, buffer = Image.fromarray(decode(encoded, min(side, _SHOWN))), io.BytesIO()
    shown.save(buffer, "WEBP", quality=85)
    return {
        "name": name,
        "side": side,
        "top": (high - side) / 2,
        "left": (wide - side) / 2,
        "source": "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode(),
    }
