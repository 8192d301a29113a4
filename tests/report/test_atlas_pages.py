"""The atlas's pages in a headless Chromium."""

import math
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from synthetic_atlas import HOSTILE, synthetic_atlas

from zfnet_jax.report.atlas_pages import write_pages

pytest_plugins = ["browser_tab"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "an atlas #1"
    atlas = synthetic_atlas(folder, maps=12, control="random-weights", evolution=True)
    write_pages(atlas, folder)
    return folder


def visit(page: Page, folder: Path, name: str) -> None:
    page.goto((folder / name).as_uri())


def place(page: Page) -> str:
    """The page's file without its folder."""
    return "/".join(page.url.split("#map")[0].split("/")[-3:]).split("%231/")[-1]


ALL_KINDS = [
    "index.html",
    "layers/conv5.html",
    "layers/fc8.html",
    "units/conv1/000.html",
    "units/conv5/010.html",  # seven tiles
    "units/conv5/011.html",  # dead
    "units/fc8/006.html",  # whose class is hostile
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 2400])
def test_pages_fit_their_window_in_light_and_dark(page, folder, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for name in ALL_KINDS:
        visit(page, folder, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        red = page.evaluate(
            "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"
        )
        assert (red < 64) == (scheme == "dark")


@pytest.mark.parametrize("k", range(1, 10))
def test_mosaics_of_any_number_of_pictures(page, tmp_path, k):
    """A picture of fewer rows lies on the same grid, whose other places are empty."""
    folder, side = tmp_path / "atlas", math.ceil(math.sqrt(k))
    counts = [*range(1, k + 1), 0]
    write_pages(synthetic_atlas(folder, maps=len(counts), k=k, counts=counts), folder)
    visit(page, folder, "layers/conv3.html")
    for count, mosaic in zip(counts, page.locator(".tile .mosaic").all(), strict=True):
        area = mosaic.bounding_box()
        assert area["height"] == pytest.approx(area["width"] * math.ceil(k / side) / side, abs=1)
        if count:
            picture = mosaic.locator("img").first.bounding_box()
            assert (picture["x"], picture["y"]) == pytest.approx((area["x"], area["y"]), abs=1)
            assert picture["width"] == pytest.approx(area["width"], abs=1)
            rows = math.ceil(count / side)
            assert picture["height"] == pytest.approx(area["width"] * rows / side, abs=1)


def test_every_picture_shows(page, folder):
    for name in ALL_KINDS:
        visit(page, folder, name)
        for image in page.locator("img:visible").all():
            image.scroll_into_view_if_needed()
            expect(image).to_have_js_property("complete", True)
            assert image.evaluate("image => image.naturalWidth") == int(
                image.get_attribute("width") or 0
            )


def test_nothing_moves_while_pictures_load(page, folder):
    visit(page, folder, "units/conv5/003.html")
    moved = page.evaluate(
        """() => new Promise((resolve) => {
          let sum = 0;
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) sum += entry.value;
          }).observe({ type: "layout-shift", buffered: true });
          setTimeout(() => resolve(sum), 300);
        })"""
    )
    assert moved == 0


def test_arrows_turn_the_pages(page, folder):
    visit(page, folder, "units/conv1/010.html")
    for key, expected in [
        ("ArrowRight", "units/conv1/011.html"),
        ("ArrowRight", "units/conv2/000.html"),
        ("ArrowLeft", "units/conv1/011.html"),
        ("Shift+ArrowLeft", "units/conv1/011.html"),
        ("ArrowUp", "layers/conv1.html"),
        ("ArrowRight", "layers/conv2.html"),
    ]:
        page.keyboard.press(key)
        page.wait_for_load_state()
        expect(page.locator("h1")).to_be_visible()
        assert place(page).endswith(expected), key


def test_up_scrolls_before_it_leaves(page, folder):
    page.set_viewport_size({"width": 1280, "height": 300})
    visit(page, folder, "units/conv5/003.html")
    page.evaluate("scrollTo(0, 100)")
    page.keyboard.press("ArrowUp")
    page.wait_for_timeout(300)
    assert place(page) == "units/conv5/003.html"
    page.evaluate("scrollTo(0, 0)")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#map-3")).to_be_in_viewport()


def results(page: Page, query: str) -> list[str]:
    """Opens the search box, types, and reads what it found."""
    page.keyboard.press("/")
    page.keyboard.type(query)
    expect(page.get_by_role("status")).to_contain_text("found")
    return [hit.strip() for hit in page.get_by_role("option").all_inner_texts()]


def test_search_data_loads_on_demand(page, folder):
    visit(page, folder, "index.html")
    assert page.evaluate("window.atlasSearch") is None
    page.keyboard.press("/")
    page.wait_for_function("window.atlasSearch")


@pytest.mark.parametrize("query", ["conv5 7", "conv5/7", "CONV5/007", " conv5  7 "])
def test_search_by_unit(page, folder, query):
    visit(page, folder, "units/conv1/000.html")
    assert results(page, query) == ["conv5 7"]
    page.keyboard.press("Enter")
    page.wait_for_url("**/units/conv5/007.html")


def test_search_finds_the_number_itself_before_those_that_begin_with_it(page, folder):
    visit(page, folder, "index.html")
    found = results(page, "conv5 1")
    assert [hit.split("\n")[0] for hit in found] == ["conv5 1", "conv5 10", "conv5 11"]
    assert found[-1].endswith("dead")


def test_search_by_class_puts_the_strongest_share_first(page, folder):
    visit(page, folder, "index.html")
    found = results(page, "cat")
    hits = [hit.split("\n")[1] for hit in found]
    exact = [hit for hit in hits if hit.startswith("cat ")]
    assert len(exact) > 5
    assert hits[: len(exact)] == exact, "the class itself comes before wild cat"
    shares = [int(count) / int(of) for count, of in (hit.split()[-1].split("/") for hit in exact)]
    assert shares == sorted(shares, reverse=True)
    assert any(hit.startswith("wild cat ") for hit in hits)
    assert page.get_by_role("option").first.get_attribute("aria-selected") == "true"


def test_search_by_keyboard(page, folder):
    visit(page, folder, "index.html")
    results(page, "conv")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url("**/layers/conv2.html")
    results(page, "conv")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/layers/conv3.html")


def test_keys_in_the_search_box_are_text(page, folder):
    visit(page, folder, "units/conv5/003.html")
    page.keyboard.press("/")
    page.keyboard.type("conv5/3")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("combobox")).to_have_value("conv5/3")
    assert place(page) == "units/conv5/003.html"


def test_a_class_is_searched_by_a_click(page, folder):
    visit(page, folder, "units/conv5/003.html")
    label = page.locator(".labels button").first
    name = label.inner_text()
    label.click()
    expect(page.get_by_role("combobox")).to_have_value(name)
    expect(page.get_by_role("option").first).to_contain_text(name)


@pytest.mark.parametrize("name", [*HOSTILE, "__proto__"])
def test_hostile_names_are_text(page, folder, name):
    visit(page, folder, "layers/fc8.html")
    assert page.locator("script").count() == 1
    tile = page.locator(".tiles .name").filter(has_text=name)
    expect(tile).to_be_visible()
    expect(tile.locator("*")).to_have_count(0)
    assert any(name in hit for hit in results(page, name))
    page.keyboard.press("Enter")
    page.wait_for_url("**/units/**")
    expect(page.locator(".labels button").filter(has_text=name)).to_have_count(1)
    page.wait_for_timeout(100)  # for an alert, which `page` would see


def test_patches_show_on_hover_focus_and_demand(page, folder):
    visit(page, folder, "layers/conv5.html")
    tile = page.locator(".tile").nth(2)
    patches, control = tile.locator("img").nth(1), tile.locator("img").nth(2)
    expect(patches).to_be_hidden()
    tile.hover()
    expect(patches).to_be_visible()
    page.mouse.move(0, 0)
    expect(patches).to_be_hidden()
    page.get_by_label("patches").focus()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(tile).to_be_focused()
    expect(patches).to_be_visible()
    page.get_by_label("patches").check()
    expect(page.locator(".tile").nth(5).locator("img").nth(1)).to_be_visible()
    page.get_by_label("control").check()
    expect(control).to_be_visible()


def test_a_tile_is_marked_in_every_picture_of_it(page, folder):
    visit(page, folder, "units/conv5/003.html")
    page.locator(".pair .mosaic").nth(1).hover()  # its middle
    expect(page.locator(".mark")).to_have_count(3)
    expect(page.locator(".wholes li").nth(4)).to_have_class("lit")
    page.locator(".wholes li").nth(2).hover()
    middle = page.locator(".pair .mosaic").first.bounding_box()
    mark = page.locator(".pair .mark").first.bounding_box()
    assert middle is not None
    assert mark is not None
    assert mark["x"] == pytest.approx(middle["x"] + middle["width"] * 2 / 3, abs=1)
    assert mark["y"] == pytest.approx(middle["y"], abs=1)
