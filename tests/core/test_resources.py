from pathlib import Path

import pytest

from zfnet_jax.core import resources


def test_a_checkout_has_its_files_beside_the_package():
    assert resources.path("configs", "caltech101").name == "caltech101.py"
    assert resources.path("weights", "caltech101").is_file()
    assert "folder" in resources.names("configs")


def test_an_installed_package_has_its_files_inside(tmp_path: Path, monkeypatch):
    folder = tmp_path / "zfnet_jax" / "_resources" / "configs"
    folder.mkdir(parents=True)
    (folder / "own.py").touch()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "zfnet_jax")
    assert resources.names("configs") == ["own"]
    assert resources.path("configs", "own") == folder / "own.py"


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"config 'folders': expected .* caltech101, folder, "):
        resources.path("configs", "folders")
