import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import files_below
from PIL import Image
from playwright.sync_api import Page, expect
from tiny_nets import random_net, write_net

from zfnet_jax.commands import command_line

pytest_plugins = ["browser_tab", "tiny_runs"]

NAMES = {"occlusion.png", "occlusion.json", "occlusion.npz", "index.html"}
SIZE, STRIDE = 7, 1
"""The paper's 50 and 6 of 224, at 32."""


@pytest.fixture(scope="module")
def net_file(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that is not sure of itself, so that a hidden part shows."""
    net = random_net(f"folder:{picture_folder}")
    net.params["fc8"]["kernel"] = 0.1 * np.asarray(net.params["fc8"]["kernel"])
    return write_net(net, tmp_path_factory.mktemp("net") / "tiny.safetensors")


@pytest.fixture
def occlude(main, capsys, monkeypatch, tmp_path: Path):
    """Runs the tool in this process, in another folder; gives what it wrote and what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[dict[str, Any], dict[str, np.ndarray], list[str]]:
        command_line.run(main, [*map(str, args), "--out", "out"])
        out, err = capsys.readouterr()
        assert err == ""
        assert {path.name for path in (tmp_path / "out").iterdir()} == NAMES
        numbers = json.loads((tmp_path / "out" / "occlusion.json").read_text())
        with np.load(tmp_path / "out" / "occlusion.npz") as file:
            arrays = dict(file)
        lines = out.splitlines()
        positions = np.prod(arrays["top_left"].shape[:2])
        assert lines[-1] == (
            "wrote occlusion.png, .json and .npz and index.html to out: "
            f"{len(numbers['images'])} pictures, {positions} positions each"
        )
        return numbers, arrays, lines[:-1]

    return run


def picture(folder: Path, name: str, wide: int = 44, high: int = 40, seed: int = 0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).normal((180, 70, 60), 30, (high, wide, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.mark.slow
def test_one_picture_in_the_paper_s_proportions(occlude, net_file: Path, tmp_path: Path):
    path = picture(tmp_path, "one.png")
    numbers, arrays, said = occlude("--ckpt", net_file, "--images", path, "--class", "red")
    assert said == []
    assert {name: array.shape for name, array in arrays.items()} == {
        "probability": (26, 26, 3),
        "activity": (26, 26),
        "top_left": (26, 26, 2),
    }
    np.testing.assert_allclose(arrays["probability"].sum(axis=-1), 1, rtol=1e-5)
    assert (numbers["size"], numbers["stride"], numbers["layer"]) == (SIZE, STRIDE, "conv5")
    (image,) = numbers["images"]
    assert (image["name"], image["class"], image["class_from"]) == (str(path), "red", "option")
    red = arrays["probability"][..., 2]
    assert image["lowest"] == red.min()
    assert image["highest"] == red.max()
    place = np.unravel_index(red.argmin(), red.shape)
    largest = image["largest_drop"]
    assert (largest["row"], largest["col"]) == place
    assert largest["top_left"] == arrays["top_left"][place].tolist()
    assert largest["drop"] == pytest.approx(image["probability"] - red.min(), rel=1e-5)
    assert sum(image["most_probable"].values()) == 26 * 26
    assert len(image["strongest_others"]) == 3
    values = [other["value"] for other in image["strongest_others"]]
    assert values == sorted(values, reverse=True)


def test_the_net_s_own_validation_set(occlude, net_file: Path):
    numbers, arrays, said = occlude("--ckpt", net_file, "--count", 4, "--size", 16, "--stride", 8)
    assert said == []
    assert arrays["probability"].shape == (4, 3, 3, 3)
    assert arrays["activity"].shape == (4, 3, 3)
    assert arrays["top_left"].shape == (3, 3, 2)
    assert numbers["others"].endswith(", validation")
    for image in numbers["images"]:
        assert image["class_from"] == "data set"
        assert image["name"].startswith(f"{image['class']}/")
        others = {other["name"] for other in image["strongest_others"]}
        assert len(others) == 3
        assert image["name"] not in others, "the picture itself is no other"


def test_the_class_by_folder_or_prediction(occlude, net_file: Path, tmp_path: Path):
    known, unknown = picture(tmp_path, "data/green/1.png"), picture(tmp_path, "data/what/1.png")
    small = ("--size", 16, "--stride", 16)
    numbers, _, said = occlude("--ckpt", net_file, "--images", "data", *small)
    one, other = numbers["images"]
    assert (one["class"], one["class_from"]) == ("green", "folder")
    assert (other["class"], other["class_from"]) == (other["predicted"], "predicted")
    assert [known.parent.name, unknown.parent.name] == ["green", "what"]
    assert said == ["no class is known of 1 pictures: the predicted one is taken"]
    labels = ("--labels", "blue", "red")
    numbers, _, said = occlude("--ckpt", net_file, "--images", "data", *small, *labels)
    assert [image["class"] for image in numbers["images"]] == ["blue", "red"]
    assert said == []


def test_a_small_picture_is_enlarged_and_this_is_said(occlude, net_file: Path, tmp_path: Path):
    path = picture(tmp_path, "red/small.png", wide=50, high=20)
    _, _, said = occlude("--ckpt", net_file, "--images", path, "--size", 16, "--stride", 16)
    (line,) = said
    assert line.startswith("1 picture is smaller than the net's 37-px frame and enlarged")
    assert line.endswith(f"{path} (50 x 20 pixels)")


@pytest.mark.slow
def test_options_reach_the_sweep(occlude, net_file: Path, tmp_path: Path):
    args = ("--ckpt", net_file, "--images", picture(tmp_path, "red/1.png"), "--size", 12)
    args = (*args, "--stride", 10)
    numbers, plain, _ = occlude(*args)
    assert numbers["positions"] == [3, 3]
    _, bright, _ = occlude(*args, "--value", 100)
    assert np.abs(bright["probability"] - plain["probability"]).max() > 1e-4
    numbers, other, _ = occlude(*args, "--layer", "conv2", "--map", 3)
    assert (numbers["layer"], numbers["images"][0]["unit"]["map"]) == ("conv2", 3)
    np.testing.assert_array_equal(other["probability"], plain["probability"])
    assert np.abs(other["activity"] - plain["activity"]).max() > 0
    numbers, _, _ = occlude(*args, "--layer", "fc7")
    assert numbers["images"][0]["unit"]["row"] == 0


def test_the_data_set_is_gone(occlude, tmp_path: Path):
    path = write_net(random_net(f"folder:{tmp_path / 'gone'}"), tmp_path / "tiny.safetensors")
    paths = [picture(tmp_path, f"red/{number}.png", seed=number) for number in range(3)]
    numbers, _, (said,) = occlude("--ckpt", path, "--images", *paths, "--size", 16, "--stride", 16)
    assert said.startswith("other pictures are looked for among those given: the net's own")
    assert numbers["others"] == "images"
    for image in numbers["images"]:
        assert image["name"] not in {other["name"] for other in image["strongest_others"]}


# What a user can get wrong


def test_wrong_options(main, capsys, monkeypatch, net_file: Path, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    path, text = picture(tmp_path, "one.png"), tmp_path / "text.png"
    text.write_text("no picture")
    before = files_below(tmp_path)
    good = ("--ckpt", net_file, "--images", path)
    for args, said in (
        (("--ckpt", "nowhere"), "checkpoint nowhere: expected a run's folder"),
        ((*good, "--size", 33), "size 33: expected 1..32, the square lies in the picture"),
        ((*good, "--size", 0), "size 0: expected 1..32"),
        ((*good, "--stride", 0), "stride 0: expected 1 or more"),
        ((*good, "--layer", "conv9"), "layer 'conv9': expected one of conv1, pool1, norm1"),
        ((*good, "--map", 8), "map 8: expected 0..7, conv5 has 8 maps"),
        ((*good, "--class", "zebra"), "--labels zebra: expected one of the net's 3 classes"),
        ((*good, "--class", "rde"), "such as red"),
        ((*good, "--labels", "red", "blue"), "expected one class, or one for each of 1 pictures"),
        ((*good, "--count", 0), "--count 0: expected 1 or more"),
        ((*good, "--batch-size", 0), "--batch-size 0: expected 1 or more"),
        ((*good, "--value", "nan"), "--value nan: expected a finite number"),
        ((*good, "--others", "gone.png"), "gone.png: expected a picture or a folder"),
        (("--ckpt", net_file, "--images", text), f"{text}: not a picture"),
        ((*good, "--out", text), "expected a folder, it is a file"),
    ):
        with pytest.raises(SystemExit) as stop:
            command_line.run(main, [str(arg) for arg in args])
        err = capsys.readouterr().err
        assert (stop.value.code, err.count("\n")) == (2, 1), err
        assert err.startswith("error: ")
        assert said in err
        assert files_below(tmp_path) == before, "nothing is half-written"


# The page, in a browser


@pytest.fixture(scope="module")
def written(main, net_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tool writes for two pictures, one of which has a hostile name."""
    place = tmp_path_factory.mktemp("occluded #1")
    paths = [
        picture(place, "red/<img src=x onerror=alert(1)>.png"),
        picture(place, "blue/1.png", seed=1),
    ]
    options = ["--ckpt", net_file, "--images", *paths, "--size", 16, "--stride", 4]
    command_line.run(main, [*map(str, options), "--out", str(place / "out")])
    return place / "out"


@pytest.fixture
def page(page: Page, written: Path) -> Page:
    page.goto((written / "index.html").as_uri())
    return page


def expect_shown(page: Page, written: Path, picture: int, row: int, col: int) -> None:
    """The page says of a position what the arrays hold."""
    with np.load(written / "occlusion.npz") as file:
        probability, top_left = file["probability"][picture, row, col], file["top_left"][row, col]
    names = ["blue", "green", "red"]
    section = page.locator("section").nth(picture)
    label = json.loads((written / "occlusion.json").read_text())["images"][picture]["class"]
    shown = section.locator("[data-say=probability]")
    expect(shown).to_have_text(f"{probability[names.index(label)]:.3f}")
    expect(section.locator("[data-say=label]")).to_have_text(names[probability.argmax()])
    expect(section.locator("[data-say=place]")).to_contain_text(
        f"row {top_left[0]}, column {top_left[1]};"
    )
    field = section.locator(".photo").bounding_box()
    square = section.locator(".photo i").bounding_box()
    assert field is not None
    assert square is not None
    scale = field["width"] / 32
    assert square["x"] - field["x"] == pytest.approx(top_left[1] * scale, abs=1)
    assert square["y"] - field["y"] == pytest.approx(top_left[0] * scale, abs=1)
    assert square["width"] == pytest.approx(16 * scale, abs=1)


def point(page: Page, selector: str, down: float, right: float, picture: int = 0) -> None:
    field = page.locator("section").nth(picture).locator(selector).first
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"])


@pytest.mark.slow
def test_the_square_follows_the_pointer(page: Page, written: Path):
    for down, right, row, col in (
        (0.5, 0.5, 2, 2),
        (0.01, 0.01, 0, 0),
        (0.99, 0.01, 4, 0),
        (0.3, 0.7, 0, 4),
    ):
        point(page, ".photo", down, right, picture=1)
        expect_shown(page, written, 1, row, col)


@pytest.mark.slow
def test_the_maps_lie_over_the_picture_and_can_be_pointed_at(page: Page, written: Path):
    """Squares of 16 pixels, 4 apart, have their centres at 8, 12, ... 24 of 32."""
    for down, right, row, col in ((0.1, 0.9, 0, 4), (0.5, 0.38, 2, 1)):
        point(page, ".map", down, right)
        expect_shown(page, written, 0, row, col)
        field, over, mark = (
            page.locator("section").first.locator(selector).first.bounding_box()
            for selector in (".map", ".map .over", ".map i")
        )
        pixel = field["width"] / 32
        assert over["x"] - field["x"] == pytest.approx(6 * pixel, abs=1)
        assert over["y"] - field["y"] == pytest.approx(6 * pixel, abs=1)
        assert over["width"] == pytest.approx(20 * pixel, abs=1)
        assert mark["x"] - field["x"] == pytest.approx((6 + 4 * col) * pixel, abs=1)
        assert mark["y"] - field["y"] == pytest.approx((6 + 4 * row) * pixel, abs=1)
        assert mark["width"] == pytest.approx(4 * pixel, abs=1)


@pytest.mark.slow
def test_on_a_phone_a_swipe_scrolls_and_a_tap_moves_the_square(phone: Page, swipe, written: Path):
    phone.goto((written / "index.html").as_uri())
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    photo = phone.locator(".photo").first
    before = phone.locator("[data-say=place]").first.inner_text()
    swipe(photo, -300)
    assert phone.evaluate("scrollY") > 100
    photo.scroll_into_view_if_needed()
    for down, right, row, col in ((0.01, 0.01, 0, 0), (0.99, 0.99, 4, 4)):
        box = photo.bounding_box()
        phone.touchscreen.tap(
            box["x"] + right * box["width"] * 0.99, box["y"] + down * box["height"] * 0.99
        )
        expect_shown(phone, written, 0, row, col)
    assert before != ""


@pytest.mark.slow
def test_it_begins_at_the_largest_drop_and_obeys_the_arrows(page: Page, written: Path):
    largest = json.loads((written / "occlusion.json").read_text())["images"][0]["largest_drop"]
    expect_shown(page, written, 0, largest["row"], largest["col"])
    page.locator(".photo").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
    expect_shown(page, written, 0, 0, 0)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect_shown(page, written, 0, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_its_window_and_names_are_text(page: Page, width: int, scheme: Any):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("script:not([type])").count() == 1
    heading = page.locator("h2").first
    expect(heading).to_contain_text("<img src=x onerror=alert(1)>.png")
    expect(heading.locator("*")).to_have_count(0)
    for image in page.locator("img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
