import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from synthetic_atlas import EDGES, HOSTILE, INPUT, LABELS, synthetic_atlas

from zfnet_jax.report import formats
from zfnet_jax.report.atlas_contents import Atlas
from zfnet_jax.report.atlas_pages import CONTROLS, search_data, write_pages


class Page(HTMLParser):
    """What a page holds: its elements in order, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Atlas, Path]:
    folder = tmp_path_factory.mktemp("made") / "atlas"
    atlas = synthetic_atlas(folder, control="wrong-unit", evolution=True)
    write_pages(atlas, folder)
    return atlas, folder


def pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


# The folder


def test_an_index_a_page_for_each_layer_and_each_unit(made):
    atlas, folder = made
    mined = [layer for layer in atlas.layers if layer.maps]
    expected = {"index.html"}
    expected |= {f"layers/{layer.name}.html" for layer in mined}
    expected |= {f"units/{unit.layer}/00{unit.map}.html" for layer in mined for unit in layer.maps}
    assert {path.relative_to(folder).as_posix() for path in pages(folder)} == expected
    assert len(mined) == 6
    assert replace(mined[0].maps[0], map=1234).page == "units/conv1/1234.html"


def test_everything_linked_is_there_and_relative(made):
    _, folder = made
    for page in pages(folder):
        for _, attributes in Page(page).elements:
            for key in ("href", "src"):
                link = urlsplit(attributes.get(key) or "")
                assert not link.netloc
                assert not link.query
                if link.scheme == "data" or not link.path:
                    continue
                assert not link.scheme
                target = page.parent / unquote(link.path, errors="surrogateescape")
                assert target.is_file(), (page, link)
                if link.fragment:
                    assert link.fragment in [item.get("id") for item in Page(target).all("li")]


def test_pictures_load_when_seen_and_nothing_jumps(made):
    _, folder = made
    for page in pages(folder):
        for image in Page(page).all("img"):
            assert image["loading"] == "lazy"
            assert "alt" in image
            with Image.open(page.parent / unquote(str(image["src"]))) as picture:
                assert picture.size == (int(str(image["width"])), int(str(image["height"])))


def test_unit_pages_are_small(made):
    _, folder = made
    sizes = [page.stat().st_size for page in folder.glob("units/*/*.html")]
    assert max(sizes) < 8_000


def test_no_name_becomes_markup(made):
    _, folder = made
    text = ""
    for page in pages(folder):
        parsed = Page(page)
        assert len(parsed.all("script")) == 1
        for _, attributes in parsed.elements:
            assert not [name for name in attributes if name.startswith("on")]
        text += parsed.text
    for name in (*HOSTILE, "caltech <101>", "the test split & more", "Layer 1: <i>filters</i>"):
        assert name in text


def test_search_data_is_ascii_and_holds_names_as_they_are(made):
    atlas, folder = made
    text = (folder / "search.js").read_text(encoding="ascii")
    assert text.startswith("window.atlasSearch={")
    data = json.loads(text.removeprefix("window.atlasSearch="))
    assert data == search_data(atlas)
    assert set(data["labels"]) <= set(LABELS)
    units = [unit for layer in atlas.layers for unit in layer.maps]
    assert len(data["units"]) == len(units)
    for unit, row in zip(units, data["units"], strict=True):
        place, number, title, page, mosaic, images, counts = row
        assert data["layers"][place][0] == unit.layer
        assert (number, title, images) == (unit.map, unit.title, len(unit.top))
        assert (folder / unquote(page)).is_file()
        assert mosaic is None or (folder / unquote(mosaic)).is_file()
        found = {
            data["labels"][label]: count
            for label, count in zip(counts[::2], counts[1::2], strict=True)
        }
        labels = [entry.label for entry in unit.top if entry.label is not None]
        assert found == {label: labels.count(label) for label in labels}


# What pages say


def unit_page(folder: Path, layer: str, number: int) -> Page:
    return Page(folder / "units" / layer / f"{number:03d}.html")


def links(page: Page) -> dict[str, str | None]:
    return {a["data-key"]: a["href"] for a in page.all("a") if a.get("data-key")}


def test_arrows_go_to_the_neighbours_across_layers(made):
    _, folder = made
    assert links(unit_page(folder, "conv1", 0)) == {
        "ArrowUp": "../../layers/conv1.html#map-0",
        "ArrowRight": "../../units/conv1/001.html",
    }
    assert links(unit_page(folder, "conv1", 4))["ArrowRight"] == "../../units/conv2/000.html"
    assert links(unit_page(folder, "conv2", 0))["ArrowLeft"] == "../../units/conv1/004.html"
    assert "ArrowRight" not in links(unit_page(folder, "fc8", 4))
    assert links(Page(folder / "layers" / "conv2.html")) == {
        "ArrowLeft": "../layers/conv1.html",
        "ArrowRight": "../layers/conv3.html",
    }


def test_fewer_tiles_and_dead_maps_are_said(made):
    _, folder = made
    assert "instead of" not in unit_page(folder, "conv3", 0).text
    assert "7 instead of 9: no other picture excites it" in unit_page(folder, "conv3", 3).text
    dead = unit_page(folder, "conv3", 4)
    assert "Dead: none of the 40 pictures excites this map." in dead.text
    assert not dead.all("img")
    assert "1 of 5 dead" in Page(folder / "layers" / "conv3.html").text


def test_the_control_stands_beside_with_what_it_means(made, tmp_path: Path):
    _, folder = made
    page = unit_page(folder, "conv4", 1)
    assert CONTROLS["wrong-unit"] in page.text
    mosaics = [image for image in page.all("img") if "mosaics" in str(image["src"])]
    assert [str(image["alt"]).split(" of ")[0] for image in mosaics[:3]] == [
        "Projections",
        "Patches",
        "Control projections",
    ]
    write_pages(synthetic_atlas(tmp_path / "plain"), tmp_path / "plain")
    plain = unit_page(tmp_path / "plain", "conv4", 1)
    assert "Control" not in plain.text
    assert "Evolution" not in plain.text


def test_epochs_stand_above_the_strip(made):
    atlas, folder = made
    text = unit_page(folder, "conv4", 1).text
    assert "".join(str(epoch) for epoch in atlas.epochs) in text.split("Evolution")[1]


def test_names_that_are_no_text_do_not_stop_it(made):
    atlas, folder = made
    shown = [
        page.read_text(encoding="utf-8")
        for page in folder.glob("units/*/*.html")
        if "bytes ?.jpg" in page.read_text(encoding="utf-8")
    ]
    assert shown
    assert any(
        entry.name == "bytes \udcff.jpg"
        for layer in atlas.layers
        for unit in layer.maps
        for entry in unit.top
    )


def test_an_atlas_of_nothing_mined(tmp_path: Path):
    atlas = synthetic_atlas(tmp_path / "atlas")
    bare = tuple(replace(layer, maps=()) for layer in atlas.layers)
    write_pages(replace(atlas, layers=bare, curves=None, figures=()), tmp_path / "atlas")
    assert [page.name for page in pages(tmp_path / "atlas")] == ["index.html"]
    assert not Page(tmp_path / "atlas" / "index.html").all("img")


# Drawings


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((56, 112, 56, 28), "top:25%;left:50%;height:25%;width:12.5%"),
        ((-48, -48, 139, 139), "top:0%;left:0%;height:40.62%;width:40.62%"),
        ((200, 168, 139, 139), "top:89.29%;left:75%;height:10.71%;width:25%"),
        ((-50, -50, 400, 400), "top:0%;left:0%;height:100%;width:100%"),
    ],
)
def test_boxes_are_cut_off_at_the_edges_of_the_picture(box, expected):
    assert formats.box_style(box, INPUT) == expected


def test_of_a_mosaic_the_tiles_show_that_are_there():
    assert formats.tiles_there((300, 300), 3, 9) == ""
    assert formats.tiles_there((300, 200), 3, 6) == ""
    seven = "clip-path:polygon(0 0,100% 0,100% 66.67%,33.33% 66.67%,33.33% 100%,0 100%)"
    assert formats.tiles_there((300, 300), 3, 7) == seven
    # Whether or not the empty rows are in the picture.
    one = "polygon(0 0,100% 0,100% 0%,33.33% 0%,33.33% {}%,0 {}%)"
    assert formats.tiles_there((300, 100), 3, 1) == "clip-path:" + one.format(100, 100)
    assert formats.tiles_there((300, 300), 3, 1) == "clip-path:" + one.format("33.33", "33.33")


def bars(outline: str) -> list[tuple[float, float]]:
    """The left edges and heights of a path's bars."""
    found = []
    for bar in outline.split("M")[1:]:
        corner, rest = bar.split("v", 1)
        found.append((float(corner.split()[0]), -float(rest.split("h")[0])))
    return found


def test_a_histogram_by_hand():
    drawing = formats.histogram([7, 0, 3, 0, 1, 0], [0.0, 1.0, 2.0, 4.0, 8.0])
    assert (drawing.silent, drawing.total) == (7, 11)
    assert (drawing.low, drawing.high) == (0.0, None)  # all of so few bins
    slot = 240 / 7  # two for the silent bar and its gap
    assert bars(drawing.silent_bar) == [(0.0, 64.0)]
    # log(8) : log(4) : log(2) = 3 : 2 : 1
    assert bars(drawing.bars) == [
        (pytest.approx(3 * slot, rel=1e-3), pytest.approx(64 * 2 / 3, rel=1e-3)),
        (pytest.approx(5 * slot, rel=1e-3), pytest.approx(64 / 3, rel=1e-3)),
    ]
    assert drawing.low_at == "28.57%"


@given(st.lists(st.integers(0, 10**6), min_size=len(EDGES) + 1, max_size=len(EDGES) + 1))
def test_histograms_of_any_counts_stay_inside(counts):
    drawing = formats.histogram(counts, EDGES)
    assert len(bars(drawing.bars)) == sum(count > 0 for count in counts[1:])
    for left, height in bars(drawing.silent_bar + drawing.bars):
        assert 0 <= left < 240
        assert 0 < height <= 64


@pytest.mark.parametrize(
    ("filled", "shown"),
    [((5, 30), (5, 30)), ((5, 7), (5, 20)), ((30, 33), (19, 34)), ((34,), (19, 34))],
)
def test_a_histogram_shows_the_bins_that_are_filled_and_sixteen_at_least(filled, shown):
    edges = [float(edge) for edge in range(34)]  # bin i is (i - 1, i]; 34 is open
    counts = [0] * 35
    for place in filled:
        counts[place] = 9
    drawing = formats.histogram(counts, edges)
    assert drawing.low == shown[0] - 1
    assert drawing.high == (None if shown[1] == 34 else shown[1])
    slot = 240 / (3 + shown[1] - shown[0])
    expected = [slot * (2 + place - shown[0]) for place in filled]
    assert [left for left, _ in bars(drawing.bars)] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (0.31249, "0.312"), (12.0, "12"), (1234.5, "1,234"), (-2.5e-7, "-2.5e-07")],
)
def test_numbers_have_three_digits(value, expected):
    assert formats.significant(value) == expected


def test_shares_are_0_or_100_only_where_they_are():
    shown = [formats.share(count, 1000) for count in (0, 1, 500, 999, 1000)]
    assert shown == ["0 %", "<1 %", "50 %", ">99 %", "100 %"]


def test_blocks_grow_with_maps_and_their_size():
    assert formats.block((224, 224, 384), 224) == "--high:1.000;--wide:1.000"
    assert formats.block((56, 56, 96), 224) == "--high:0.500;--wide:0.500"
    assert formats.block((4096,), 224) == "--high:1.000;--wide:0.000"
    assert formats.block((8192,), 224) == "--high:1.000;--wide:0.000"
