"""Zeiler & Fergus 2014, Fig 7, as a page on which one moves the square oneself."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zfnet_jax.core.pixels import raw_to_pixels
from zfnet_jax.report.atlas_views import share, significant
from zfnet_jax.report.occlusion import (
    HEAT,
    NARROWEST,
    Row,
    heat_range,
    label_colours,
    label_picture,
)
from zfnet_jax.report.templating import environment

_BEST = 5  # classes that are listed at a position


def write_page(
    rows: Sequence[Row], class_names: Sequence[str], layer: str, title: str, path: Path
) -> None:
    """Writes a page, of one file, on which the square follows the pointer.

    Args:
      rows: the pictures.
      class_names: the name of each class.
      layer: the name of the map's layer.
      title: the net's name.
      path: the file to write.
    """
    env = environment()
    env.filters["significant"] = significant
    views = [_view(row, class_names) for row in rows]
    data = [view.pop("data") for view in views]
    text = env.get_template("occlusion.html").render(
        views=views, data=data, classes=list(class_names), layer=layer, title=title
    )
    # A file's name may hold bytes that are no text.
    path.write_text(text, encoding="utf-8", errors="replace")


def _view(row: Row, class_names: Sequence[str]) -> dict[str, Any]:
    """What the page shows of a picture; `data` is what its script reads."""
    found, probability = row.found, row.found.outputs[..., row.label]
    labels = found.most_probable
    colours, counts = label_colours(labels, row.label)
    order = np.argsort(-found.outputs, axis=-1, kind="stable")[..., :_BEST]
    best = np.take_along_axis(found.outputs, order, axis=-1)
    rounded = lambda values: np.asarray(values, float).round(5).ravel().tolist()
    start = np.argsort(-found.unoccluded, kind="stable")[:_BEST]
    return {
        "name": row.name,
        "label": class_names[row.label],
        "origin": row.origin,
        "unit": found.unit,
        "whole": float(found.unoccluded[row.label]),
        "lowest": float(probability.min()),
        "highest": float(probability.max()),
        "range": heat_range(probability, NARROWEST),
        "least": float(found.activity.min()),
        "most": float(found.activity.max()),
        "picture": _data_url(row.picture),
        "square": _data_url(row.square),
        "maps": [
            ("probability", _data_url(_heat_picture(probability, NARROWEST))),
            ("label", _data_url(label_picture(labels, colours))),
            ("activity", _data_url(_heat_picture(found.activity))),
        ],
        "legend": [
            (class_names[label], colour, share(counts[label], labels.size))
            for label, colour in colours.items()
            if counts[label]
        ],
        "data": {
            "high": row.picture.shape[0],
            "wide": row.picture.shape[1],
            "size": found.size,
            "tops": found.top_left[:, 0, 0].tolist(),
            "lefts": found.top_left[0, :, 1].tolist(),
            "label": row.label,
            "probability": rounded(probability),
            "activity": rounded(found.activity),
            "best": order.reshape(-1, order.shape[-1]).tolist(),
            "shares": best.astype(float).round(5).reshape(-1, best.shape[-1]).tolist(),
            "whole": {
                "probability": round(float(found.unoccluded[row.label]), 5),
                "best": start.tolist(),
                "shares": rounded(found.unoccluded[start]),
            },
            "start": row.at_largest_drop.tolist(),
        },
    }


def _heat_picture(values: np.ndarray, narrowest: float = 0.0) -> np.ndarray:
    low, high = heat_range(values, narrowest)
    shares = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return raw_to_pixels(255 * HEAT(shares)[..., :3])


def _data_url(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
