import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from tiny_nets import FRAME, SIZE, random_net, write_net

from zfnet_jax.analysis.correspondence import at_random, box_mask, consistency
from zfnet_jax.commands import command_line
from zfnet_jax.data.decode import decode
from zfnet_jax.data.parts import Box, in_input, read_boxes
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.networks.function import network
from zfnet_jax.report.annotate import write_annotation_page
from zfnet_jax.training import checkpoint

pytest_plugins = ["browser_tab", "tiny_runs"]

NAMES = Shapes("val", 1).class_names
PICTURES = {"1.png": (60, 90), "2.png": (75, 75), "inside/3.png": (100, 70)}
"""Their heights and widths."""


class Output(NamedTuple):
    """What the tool wrote and said."""

    numbers: dict[str, Any]
    text: str
    said: str


@pytest.fixture(scope="module")
def net_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of random weights for the embedded data set."""
    return write_net(random_net("shapes", NAMES), tmp_path_factory.mktemp("net") / "a.safetensors")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "my <i>photos & é"
    (folder / "inside").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for name, (high, wide) in PICTURES.items():
        pixels = rng.integers(0, 255, (high, wide, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Two parts in each picture, a tenth to a fifth of it around its middle."""
    return [
        {
            "image": name,
            "part": part,
            "top": high / 2 + shift,
            "left": wide / 2 - shift,
            "height": 10,
            "width": 10,
        }
        for part, shift in (("nose", 0), ("left eye", -10))
        for name, (high, wide) in PICTURES.items()
    ]


@pytest.fixture
def tool(main, net_file: Path, capsys, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Output:
        command_line.run(main, ["--ckpt", str(net_file), "--out", "out", *map(str, args)])
        out, err = capsys.readouterr()
        assert err == ""
        names = {path.name for path in Path("out").iterdir()}
        assert names == {f"correspondence.{kind}" for kind in ("png", "txt", "json")}
        with Image.open("out/correspondence.png") as picture:
            assert picture.size[0] > 500
        numbers = json.loads(Path("out/correspondence.json").read_text())
        return Output(numbers, Path("out/correspondence.txt").read_text(), out)

    return run


def write_boxes(rows: Any, path: Path) -> Path:
    path.write_text(json.dumps(rows))
    return path


def test_against_the_library(tool, net_file: Path, photos: Path, rows, tmp_path: Path):
    boxes = write_boxes(rows, tmp_path / "boxes.json")
    output = tool("--boxes", boxes, "--folder", photos, "--random", 4, "--layers", "conv2", "fc6")
    net = checkpoint.load(net_file)
    frames = np.stack([decode((photos / name).read_bytes(), FRAME) for name in PICTURES])
    images = centre_view(np.float32(frames) - net.preprocessing.mean, SIZE)
    table = output.numbers["table"]
    assert len(table) == 2 * 2 * 2 * 2  # parts, nets, what is hidden, layers
    for part, marked in read_boxes(boxes).items():
        masks = np.stack(
            [
                box_mask(in_input(box, PICTURES[name], FRAME, SIZE), SIZE)
                for name, box in marked.items()
            ]
        )
        hidden = {"part": [masks], "random place": at_random(masks, 4, 0)}
        expected = consistency(network(net), images, hidden, ["conv2", "fc6"])
        for each in table:
            if each["part"] == part and each["net"] == "trained":
                cell = expected[each["hidden"]][each["layer"]]
                for name, value in cell._asdict().items():
                    assert each[name] == pytest.approx(value, abs=0.02)
                assert each["pairs"] == (3 if each["hidden"] == "part" else 12)
                assert f"{each['mean']:.3f} ± {each['std']:.3f}" in output.text
    random = [each["mean"] for each in table if each["net"] == "random weights"]
    trained = [each["mean"] for each in table if each["net"] == "trained"]
    assert random != trained
    assert output.text in output.said
    assert output.said.endswith("wrote correspondence.png, .txt and .json to out: 2 parts\n")


def test_a_table_beside_its_pictures_without_a_control(tool, photos: Path, rows):
    boxes = write_boxes(rows, photos / "boxes.json")
    output = tool("--boxes", boxes, "--no-control", "--random", 1)
    boxes.unlink()
    assert {each["net"] for each in output.numbers["table"]} == {"trained"}
    assert {each["layer"] for each in output.numbers["table"]} == {"conv5", "fc7"}
    assert "random weights" not in output.text


def test_the_embedded_parts(tool):
    output = tool("--shapes", "--count", 2, "--random", 1, "--layers", "conv5", "--no-control")
    source = Shapes("val", 1)
    every = {f"{kind} {part}" for kind, parts in source.class_parts.items() for part in parts}
    shown = {each["part"] for each in output.numbers["table"]}
    assert shown | set(output.numbers["left_out"]) == every
    assert not shown & set(output.numbers["left_out"])
    assert "fish eye" in shown
    assert all(each["pictures"] == 2 for each in output.numbers["table"])
    for name in output.numbers["left_out"]:
        assert name in output.said


def test_small_pictures_are_enlarged_and_it_is_said(tool, tmp_path: Path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (30, 24), "red").save(tmp_path / name)
    box = {"part": "middle", "top": 8, "left": 10, "height": 6, "width": 6}
    boxes = write_boxes([{"image": f"{name}.png", **box} for name in "ab"], tmp_path / "boxes.json")
    said = tool("--boxes", boxes, "--random", 1, "--no-control").said
    assert "2 pictures are smaller than the net's 37-px frame and enlarged" in said
    assert "a.png (30 x 24 pixels)" in said


# What cannot be


def one_line(main, capsys, *args: object) -> str:
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, list(map(str, args)))
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert err.startswith("error: ")
    assert (out, err.count("\n")) == ("", 1)
    assert not Path("out").exists()
    return err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].update(left=85), "'nose' in 1.png: top 30, left 85, 10 x 10"),
        (lambda rows: rows[4].update(top=0), "'left eye' in 2.png: top 0, left 47.5, 10 x 10"),
        (lambda rows: rows.pop(), "'left eye' is given for 2 of 3 images and not for inside/3.png"),
        (lambda rows: rows.__delitem__(slice(1, None)), "boxes in 1 images; expected 2 or more"),
        (lambda rows: rows[0].update(top=None), "box 1: "),
        (
            lambda rows: rows[0].update(top=6, left=20, height=40, width=40),
            "of the net's 32 x 32 pixels: expected a part small enough for a place beside it",
        ),
        (
            lambda rows: [row.update(image="x.png") for row in rows if row["image"] == "1.png"],
            "x.png: expected a picture or a folder, there is none",
        ),
    ],
)
def test_bad_boxes(main, net_file, capsys, monkeypatch, tmp_path, photos, rows, change, message):
    monkeypatch.chdir(tmp_path)
    change(rows)
    boxes = write_boxes(rows, tmp_path / "boxes.json")
    options = ("--ckpt", net_file, "--boxes", boxes, "--folder", photos, "--out", "out")
    assert message in one_line(main, capsys, *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected one of --boxes FILE, --shapes and --annotate FOLDER"),
        (("--shapes", "--annotate", "."), "expected one of --boxes FILE"),
        (("--shapes",), "--ckpt: expected a net with --boxes or --shapes"),
        (("--shapes", "--ckpt", "NET", "--layers", "conv9"), "layer 'conv9': expected one of"),
        (("--shapes", "--ckpt", "NET", "--random", 0), "--random 0: expected 1 or more"),
        (("--shapes", "--ckpt", "NET", "--count", 1), "--count 1: expected 2 or more"),
        (("--shapes", "--ckpt", "OTHER"), "--shapes: expected a net trained on shapes"),
        (("--annotate", "nowhere"), "--annotate nowhere: expected a folder of pictures"),
    ],
)
def test_options(main, net_file, capsys, monkeypatch, tmp_path, photos, options, message):
    monkeypatch.chdir(tmp_path)
    nets = {"NET": net_file}
    if "OTHER" in options:
        nets["OTHER"] = write_net(
            random_net(f"folder:{_classes(tmp_path)}", ("one", "two")),
            tmp_path / "other.safetensors",
        )
    given = (nets.get(each, each) for each in options)
    assert message in one_line(main, capsys, *given, "--out", "out")


def _classes(place: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (place / "classes" / name).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(place / "classes" / name / f"{number}.png")
    return place / "classes"


# The page


def drag(page: Page, number: int, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one place of a picture to another, (row, column) in pixels of the file."""
    area = page.locator(".picture").nth(number)
    area.evaluate("area => area.scrollIntoView({ block: 'center' })")
    place = area.bounding_box()
    assert place is not None
    high, wide = list(PICTURES.values())[number]
    side = min(high, wide)
    points = [
        (
            place["x"] + (col - (wide - side) / 2) * place["width"] / side,
            place["y"] + (row - (high - side) / 2) * place["width"] / side,
        )
        for row, col in (start, end)
    ]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=2)
    page.mouse.up()


def download(page: Page, path: Path) -> list[dict[str, Any]]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    waiting.value.save_as(path)
    return json.loads(path.read_text())


def test_a_page_of_a_folder(main, capsys, monkeypatch, tmp_path, photos):
    monkeypatch.chdir(tmp_path)
    command_line.run(main, ["--annotate", str(photos), "--out", "out"])
    out, err = capsys.readouterr()
    assert err == ""
    assert out == "wrote annotate.html to out: 3 pictures; open it in a browser\n"
    html = Path("out/annotate.html").read_text()
    assert "<i>photos" not in html
    for name in PICTURES:
        assert name in html
    assert html.count("data:image/webp;base64,") == 3


@pytest.mark.slow
def test_parts_are_marked_and_the_tool_reads_them(page, main, net_file, capsys, tmp_path, photos):
    out = tmp_path / "a page #1"
    command_line.run(main, [*map(str, ("--ckpt", net_file, "--annotate", photos, "--out", out))])
    page.goto((out / "annotate.html").as_uri())
    assert page.get_by_role("button", name="Download").is_disabled()
    drag(page, 0, (20, 40), (30, 54))
    drag(page, 1, (45, 40), (30, 25))  # backwards
    assert "right eye is missing in inside/3.png" in page.locator("#status").inner_text()
    drag(page, 2, (50, 35), (50, 35))  # a click: as large a share as the last
    page.get_by_label("Another part").fill("ear \"<b>'")
    page.get_by_role("button", name="Add").click()
    for number, (high, wide) in enumerate(PICTURES.values()):
        drag(page, number, (high / 2, wide / 2), (-20, -20))  # beyond what the net sees
    assert page.locator("#status").inner_text() == "All marked parts are there in every picture."
    rows = download(page, tmp_path / "parts.json")
    assert [row["image"] for row in rows] == list(PICTURES) * 2
    boxes = [[row[key] for key in Box._fields] for row in rows]
    assert (
        np.abs(np.subtract(boxes[:3], [[20, 40, 10, 14], [30, 25, 15, 15], [43, 28, 14, 14]])).max()
        <= 1
    )
    assert rows[3]["part"] == "ear \"<b>'"
    for name, box in read_boxes(tmp_path / "parts.json")["ear \"<b>'"].items():
        found = in_input(box, PICTURES[name], FRAME, SIZE)
        assert (found.top, found.left) == (0, 0) or max(found.top, found.left) <= 1
    capsys.readouterr()

    # Taken up again from the file: the same; then less one, by the keyboard.
    page.goto("about:blank")
    page.goto((out / "annotate.html").as_uri())
    page.locator("#load").set_input_files(tmp_path / "parts.json")
    page.locator(".box").nth(5).wait_for(state="attached")
    assert download(page, tmp_path / "again.json") == rows
    page.get_by_role("radio", name="right eye").check()
    page.locator(".picture").first.focus()
    for key in ("ArrowDown", "ArrowLeft", "Shift+ArrowRight"):
        page.keyboard.press(key)
    moved = download(page, tmp_path / "moved.json")[0]
    top, left, height, width = boxes[0]
    assert [moved[key] for key in Box._fields] == [top + 1, left - 1, height, width + 1]
    page.locator(".picture").first.focus()
    page.keyboard.press("Delete")
    assert len(download(page, tmp_path / "fewer.json")) == len(rows) - 1
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_on_a_phone_a_swipe_scrolls_and_a_tap_marks(phone, swipe, photos: Path, tmp_path: Path):
    files = [photos / name for name in PICTURES]
    write_annotation_page(tmp_path / "a.html", "photos", files, list(PICTURES), 0.9)
    phone.goto((tmp_path / "a.html").as_uri())
    picture = phone.locator(".picture").first
    picture.scroll_into_view_if_needed()
    before = phone.evaluate("scrollY")
    swipe(picture, -200)
    assert phone.evaluate("scrollY") > before + 50
    assert phone.locator(".box").count() == 0
    picture.evaluate("area => area.scrollIntoView({ block: 'center' })")
    box = picture.bounding_box()
    phone.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert phone.locator(".box").count() == 1
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_names_cannot_leave_the_script(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    hostile = "</script><script>alert(1)</script>"
    write_annotation_page(tmp_path / "p.html", hostile, [tmp_path / "x.png"], [hostile], 0.9)
    assert "<script>alert" not in (tmp_path / "p.html").read_text()
