"""Zeiler & Fergus 2014, Fig 7, as a page on which one moves the square oneself."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zfnet_jax.analysis.occluded_pictures import OccludedPicture
from zfnet_jax.report.formats import share, significant
from zfnet_jax.report.occlusion_maps import (
    NARROWEST,
    heat_picture,
    heat_range,
    label_colours,
    label_picture,
    map_extent,
)
from zfnet_jax.report.templating import environment

_BEST = 5  # classes that are listed at a position


def write_page(
    pictures: Sequence[OccludedPicture],
    class_names: Sequence[str],
    layer: str,
    title: str,
    path: Path,
) -> None:
    """Writes a page, of one file, on which the square follows the pointer.

    Args:
      pictures: those to show.
      class_names: the name of each class.
      layer: the name of the map's layer.
      title: the net's name.
      path: the file to write.
    """
    env = environment()
    env.filters["significant"] = significant
    views = [_view(picture, class_names) for picture in pictures]
    data = [view.pop("data") for view in views]
    text = env.get_template("occlusion.html").render(
        views=views, data=data, classes=list(class_names), layer=layer, title=title
    )
    # A file's name may hold bytes that are no text.
    path.write_text(text, encoding="utf-8", errors="replace")


def _view(picture: OccludedPicture, class_names: Sequence[str]) -> dict[str, Any]:
    """What the page shows of a picture; `data` is what its script reads."""
    sweep, probability = picture.sweep, picture.sweep.outputs[..., picture.label]
    high, wide = picture.picture.shape[:2]
    extent = map_extent(sweep)
    labels = sweep.most_probable
    colours, counts = label_colours(labels, picture.label)
    order = np.argsort(-sweep.outputs, axis=-1, kind="stable")[..., :_BEST]
    best = np.take_along_axis(sweep.outputs, order, axis=-1)
    rounded = lambda values: np.asarray(values, float).round(5).ravel().tolist()
    start = np.argsort(-sweep.unoccluded, kind="stable")[:_BEST]
    return {
        "name": picture.name,
        "label": class_names[picture.label],
        "origin": picture.origin,
        "unit": sweep.unit,
        "whole": float(sweep.unoccluded[picture.label]),
        "lowest": float(probability.min()),
        "highest": float(probability.max()),
        "range": heat_range(probability, NARROWEST),
        "least": float(sweep.activity.min()),
        "most": float(sweep.activity.max()),
        "picture": _data_url(picture.picture),
        "square": _data_url(picture.square),
        "maps": [
            ("probability", _data_url(heat_picture(probability, NARROWEST))),
            ("label", _data_url(label_picture(labels, colours))),
            ("activity", _data_url(heat_picture(sweep.activity))),
        ],
        "legend": [
            (class_names[label], colour, share(counts[label], labels.size))
            for label, colour in colours.items()
            if counts[label]
        ],
        "data": {
            "high": high,
            "wide": wide,
            "size": sweep.size,
            "extent": {
                "top": extent.top / high,
                "left": extent.left / wide,
                "width": (extent.right - extent.left) / wide,
                "height": (extent.bottom - extent.top) / high,
            },
            "tops": sweep.top_left[:, 0, 0].tolist(),
            "lefts": sweep.top_left[0, :, 1].tolist(),
            "label": picture.label,
            "probability": rounded(probability),
            "activity": rounded(sweep.activity),
            "best": order.reshape(-1, order.shape[-1]).tolist(),
            "shares": best.astype(float).round(5).reshape(-1, best.shape[-1]).tolist(),
            "whole": {
                "probability": round(float(sweep.unoccluded[picture.label]), 5),
                "best": start.tolist(),
                "shares": rounded(sweep.unoccluded[start]),
            },
            "start": picture.at_largest_drop.tolist(),
        },
    }


def _data_url(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
