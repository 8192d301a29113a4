"""The tool that lists near-duplicates: as a user runs it, on drawn pictures with planted copies."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from zfnet_jax.commands import command_line
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.data.splits import open_splits
from zfnet_jax.experiments.planted_copies import PlantedCopies

pytest_plugins = ["browser_tab"]

HERE, THERE = Shapes("train", 48), Shapes("val", 30)
COPIED = {"resized": (0, 12, 24), "cropped": (1,), "mirrored": (2,), "brightness": (3,)}
"""Which pictures of A have a copy in B: three of the first class."""

CLASSES = HERE.class_names


class Output(NamedTuple):
    """What the tool wrote and said."""

    numbers: dict[str, Any]
    excluded: list[str]
    said: list[str]


def save(path: Path, image: bytes | np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collections A and B; B holds a copy of six of A, in one class with an odd name."""
    place = tmp_path_factory.mktemp("places")
    for name, source in (("A", HERE), ("B & <b>", THERE)):
        for item in range(len(source)):
            image, label, _ = source[item]
            save(place / name / CLASSES[label] / f"{item:02}.png", image)
    for kind, items in COPIED.items():
        for item in items:
            image = PlantedCopies(HERE, kind)[item].image
            save(place / "B & <b>" / "copies <i>é" / f"{kind} {item:02}.jpg", image)
    (place / "B & <b>" / CLASSES[0] / "broken.jpg").write_bytes(b"no picture")
    save(place / "A" / CLASSES[0] / "white.png", np.full((60, 60, 3), 255, np.uint8))
    return place


@pytest.fixture
def tool(main, places: Path, capsys, monkeypatch):
    monkeypatch.chdir(places)

    def run(*args: object, warned: bool = False) -> Output:
        shutil.rmtree("out", ignore_errors=True)
        command_line.run(main, [*map(str, args), "--out", "out"])
        said, err = capsys.readouterr()
        assert err.startswith("warning: skipped 1 files of B & <b>, such as") if warned else not err
        names = {path.name for path in Path("out").iterdir()}
        assert names == {"index.html", "overlap.json", "exclude.txt"}
        excluded = Path("out/exclude.txt").read_text("utf-8").splitlines()
        numbers = json.loads(Path("out/overlap.json").read_text())
        return Output(numbers, excluded, said.splitlines())

    return run


def planted() -> dict[str, str]:
    """The names in B of the copies, and those of the originals in A."""
    return {
        f"copies <i>é/{kind} {item:02}.jpg": f"{CLASSES[HERE.labels[item]]}/{item:02}.png"
        for kind, items in COPIED.items()
        for item in items
    }


@pytest.mark.slow
def test_copies_are_listed_and_left_out_of_training(tool):
    numbers, excluded, said = tool("A", "B & <b>", warned=True)
    pairs = {pair["b"]: pair for pair in numbers["pairs"]}
    assert {name: pair["a"] for name, pair in pairs.items()} == planted()
    assert excluded == sorted(planted())
    values = [pair["correlation"] for pair in numbers["pairs"]]
    assert values == sorted(values, reverse=True)
    assert values[-1] >= 0.9
    assert {name for name, pair in pairs.items() if pair["mirrored"]} == {
        "copies <i>é/mirrored 02.jpg"
    }
    assert (numbers["threshold"], numbers["mirrored"], numbers["excluded"]) == (0.9, True, 6)
    a, b = numbers["a"], numbers["b"]
    assert (a["pictures"], a["in_pairs"], a["flat"], a["skipped"]) == (49, 6, 1, [])
    assert (b["pictures"], b["in_pairs"], b["flat"]) == (36, 6, 0)
    assert [file["name"] for file in b["skipped"]] == [f"{CLASSES[0]}/broken.jpg"]
    counts = np.bincount([CLASSES.index(name.split("/")[0]) for name in planted().values()])
    assert a["classes"] == {CLASSES[label]: counts[label] for label in np.nonzero(counts)[0]}
    assert b["classes"] == {"copies <i>é": 6}
    assert (a["most_in_a_class"], b["most_in_a_class"]) == (3, 6)
    assert said[0].startswith("A: 6 of 49 pictures in a pair, at most 3 in a class")
    assert said[0].endswith("1 of one colour, compared with nothing")
    assert said[1] == "B & <b>: 6 of 36 pictures in a pair, at most 6 in a class (copies <i>é)"
    assert said[2:] == [
        "to train without 6 pictures: "
        "--data.source 'folder:B & <b>' --data.exclude out/exclude.txt",
        "wrote index.html, overlap.json and exclude.txt to out: 6 pairs",
    ]
    # The list as training takes it. The copies' own class would be empty, so two stay behind.
    Path("out/exclude.txt").write_text("".join(f"{name}\n" for name in excluded[:4]), "utf-8")
    splits = open_splits(DataConfig(source="folder:B & <b>", exclude="out/exclude.txt"))
    left = {source[i].name for source in (splits.train, splits.val) for i in range(len(source))}
    assert len(left) == 32
    assert not left & set(excluded[:4])


def test_the_first_collection_may_be_the_one_to_train_on(tool):
    numbers, excluded, _ = tool("A", "B & <b>", "--exclude-from", "a", warned=True)
    assert excluded == sorted(planted().values())
    assert numbers["exclude_from"] == "a"
    config = DataConfig(source="folder:A", exclude="out/exclude.txt")
    splits = open_splits(config)
    assert len(splits.train) + len(splits.val) == 49 - 6


def test_options(tool):
    assert len(tool("A", "B & <b>", "--no-mirrored", warned=True).excluded) == 5
    stricter = tool("A", "B & <b>", "--threshold", 0.999, "--shown", 1, warned=True)
    assert 0 < len(stricter.excluded) < 6
    assert Path("out/index.html").read_text().count("data:image/webp") == 2


def test_within_one_collection(tool, places: Path):
    root = places / "once"
    for item in range(24):
        image, label, _ = HERE[item]
        save(root / "train" / CLASSES[label] / f"{item:02}.png", image)
        save(root / "val" / CLASSES[label] / f"{item:02}.png", THERE[item].image)
    for kind in ("resized", "cropped"):
        save(root / "val" / CLASSES[0] / f"{kind}.jpg", PlantedCopies(HERE, kind)[0].image)
    save(root / "stray.jpg", PlantedCopies(HERE, "recompressed")[1].image)
    numbers, excluded, _ = tool("once", places / "A" / ".." / "once")
    zero, one = (f"train/{CLASSES[n]}/{n:02}.png" for n in (0, 1))
    cropped, resized = (f"val/{CLASSES[0]}/{kind}.jpg" for kind in ("cropped", "resized"))
    assert {(pair["a"], pair["b"]) for pair in numbers["pairs"]} == {
        (zero, cropped),
        (zero, resized),
        (cropped, resized),
        ("stray.jpg", one),
    }
    assert excluded == sorted([one, cropped, resized])
    assert "b" not in numbers
    assert numbers["a"]["classes"] == {CLASSES[0]: 3, CLASSES[1]: 1, "": 1}
    splits = open_splits(DataConfig(source="folder:once", exclude="out/exclude.txt"))
    assert len(splits.train) + len(splits.val) == 50 - 3
    _, firsts, said = tool("once", "once", "--exclude-from", "a")
    assert firsts == sorted([zero, cropped])
    assert "not in exclude.txt, since data sources read CLASS/PICTURE only: 1 pictures" in said


def test_folders_without_classes(tool, places: Path):
    """Data sources read no such folder, so there is nothing to train on and to leave out."""
    for item in range(2):
        save(places / "flat" / f"{item}.png", HERE[item].image)
    _, excluded, said = tool("A", "flat")
    assert excluded == []
    assert said[2:] == [
        "not in exclude.txt, since data sources read CLASS/PICTURE only: 2 pictures",
        "wrote index.html, overlap.json and exclude.txt to out: 2 pairs",
    ]


def test_nothing_in_common(tool, places: Path):
    for item in range(3):
        save(places / "few" / f"{item}.png", Shapes("train", 40, seed=5)[30 + item].image)
    numbers, excluded, said = tool("few", "A")
    assert (numbers["pairs"], excluded) == ([], [])
    assert numbers["a"]["most_in_a_class"] == 0
    assert said[0] == "few: 0 of 3 pictures in a pair"
    assert Path("out/exclude.txt").read_bytes() == b""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nowhere", "A"), "nowhere: expected a folder of pictures"),
        (("A", "nowhere"), "nowhere: expected a folder of pictures"),
        (("A", "A/file.png"), "A/file.png: expected a folder of pictures"),
        (("A", "empty"), "empty: expected at least one readable picture"),
        (("A", "A", "--threshold", "0.5"), "--threshold 0.5: expected 0.7 to 1, below 1"),
        (("A", "A", "--threshold", "1"), "--threshold 1.0: expected 0.7 to 1, below 1"),
        (("A", "A", "--shown", "0"), "--shown 0: expected 1 or more"),
        (("A",), "required"),
    ],
)
def test_what_cannot_be(main, places: Path, capsys, monkeypatch, options, message: str):
    monkeypatch.chdir(places)
    Path("empty").mkdir(exist_ok=True)
    shutil.rmtree("out", ignore_errors=True)
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, [*options, "--out", "out"])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert err.startswith("error: ")
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not Path("out").exists()


def test_the_page(tool, page: Page, tmp_path: Path):
    numbers = tool("A", "B & <b>", warned=True).numbers
    html = Path("out/index.html").read_text()
    assert "copies <i>" not in html
    page.goto(Path("out/index.html").resolve().as_uri())
    pairs = page.locator(".pairs li")
    assert pairs.count() == 6
    assert "copies <i>é/" in pairs.first.inner_text()
    assert pairs.first.locator("img").count() == 2
    assert all(
        page.locator(".pairs img").evaluate_all("images => images.map(i => i.naturalWidth > 0)")
    )
    values = [pair["correlation"] for pair in numbers["pairs"]]
    least = round((values[2] + values[3]) / 2, 3)
    expected = [pair["b"] for pair in numbers["pairs"] if pair["correlation"] >= least]
    page.locator("#threshold").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }",
        least,
    )
    assert page.locator(".pairs li:visible").count() == len(expected) < 6
    said = page.locator("#said").inner_text()
    assert said.endswith(f"{len(expected)} of 6 pairs, {len(expected)} pictures to exclude")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    waiting.value.save_as(tmp_path / "exclude.txt")
    assert (tmp_path / "exclude.txt").read_text("utf-8").splitlines() == sorted(expected)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
