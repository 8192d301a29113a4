"""Packages of the extras: what a user is told where one is missing."""

import sys

import pytest

from zfnet_jax.core.extras import import_extra
from zfnet_jax.data.tfds import open_tfds


def test_a_package_that_is_there_is_imported():
    assert import_extra("json.decoder", "none") is sys.modules["json.decoder"]


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "absent", None)
    expected = r"package absent: .*pip install 'zfnet-jax\[some\]'"
    with pytest.raises(ValueError, match=expected):
        import_extra("absent", "some")


def test_a_package_that_lacks_one_of_its_own_is_no_missing_extra(tmp_path, monkeypatch):
    (tmp_path / "incomplete.py").write_text("import absent_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="absent_dependency"):
        import_extra("incomplete", "some")


def test_a_prepared_data_set_asks_for_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match=r"tensorflow_datasets: .*zfnet-jax\[tfds\]"):
        open_tfds("tfds:pictures")
