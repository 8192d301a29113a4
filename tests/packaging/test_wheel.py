"""The package as it is installed: what its wheel holds, and its commands in an empty folder."""

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import hatchling.build
import pytest
from conftest import ROOT
from PIL import Image
from skimage import data

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / hatchling.build.build_wheel(str(folder))


def test_the_wheel_holds_the_package_its_templates_configurations_and_weights(wheel: Path):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("zfnet_jax/**/*.py")}
    templates = {str(path.relative_to(ROOT)) for path in ROOT.glob("zfnet_jax/**/templates/*")}
    resources = {
        f"zfnet_jax/_resources/{folder}/{path.name}"
        for folder, pattern in (("configs", "*.py"), ("weights", "*.*"))
        for path in (ROOT / folder).glob(pattern)
    }
    assert held == modules | templates | resources | {"zfnet_jax/py.typed"}
    assert "zfnet_jax/_resources/configs/folder.py" in held
    assert "zfnet_jax/_resources/weights/caltech101.safetensors" in held


def test_the_wheel_installs_one_command_and_says_what_it_is(wheel: Path):
    archive = zipfile.ZipFile(wheel)
    information = {Path(n).name: n for n in archive.namelist() if ".dist-info" in n}
    entry_points = archive.read(information["entry_points.txt"]).decode()
    assert entry_points.split() == [
        "[console_scripts]",
        "zfnet-jax",
        "=",
        "zfnet_jax.__main__:console",
    ]
    metadata = Parser().parsestr(archive.read(information["METADATA"]).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert "deconvnet" in metadata["Keywords"]
    required = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert not any(text.startswith(("tensorflow", "pyarrow", "torch")) for text in required)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program of a fresh environment, which has the wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    venv.create(folder / "environment", with_pip=True)
    programs, empty = folder / "environment/bin", folder / "empty"
    empty.mkdir()
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(programs / program), *arguments],
            cwd=empty,
            env={**inherited, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")},
            capture_output=True,
            text=True,
            check=True,
        )

    run("pip", "install", "--quiet", "--disable-pip-version-check", str(built))
    Image.fromarray(data.chelsea()).save(empty / "cat.jpg")
    for number in range(64):
        path = empty / "pictures" / ("even", "odd")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (4 * number, 99, 4 * number)).save(path)
    return run


@pytest.mark.slow
def test_the_main_job_starts_in_an_empty_folder(installed: Run):
    installed("zfnet-jax", "train", "--train.max-steps", "3")
    shown = installed("zfnet-jax", "deconv", "--ckpt", "runs/shapes", "--top", "1")
    assert "conv5.png" in shown.stdout


@pytest.mark.slow
def test_a_configuration_is_found_by_name(installed: Run):
    options = ("--data.source", "folder:pictures", "--train.max-steps", "1")
    result = installed("zfnet-jax", "train", "--config", "folder", *options)
    assert "runs/folder" in result.stdout


@pytest.mark.slow
def test_a_net_that_comes_with_the_package_is_found_by_name(installed: Run):
    look = ("--ckpt", "caltech101", "--images", "cat.jpg", "--top", "1")
    assert "conv5.png" in installed("zfnet-jax", "deconv", *look).stdout
    pages = installed("zfnet-jax", "atlas", *look, "--layers", "conv1", "--out", "atlas")
    assert "atlas" in pages.stdout


@pytest.mark.slow
def test_every_command_and_the_modules_of_training_start(installed: Run):
    listed = installed("zfnet-jax", "--help").stdout
    for name in ("train", "evaluate", "import-weights", "layer-features"):
        assert name in listed
        assert "Example" in installed("zfnet-jax", name, "--help").stdout
    for module in ("zfnet_jax.train", "zfnet_jax.evaluate"):
        installed("python", "-m", module, "--help")
