import json
import sys

import pytest
from PIL import Image
from test_transfer_command import net_file, options, pictures

from zfnet_jax.commands import command_line

__all__ = ["net_file", "pictures"]


def few(net_file, pictures, out) -> list[str]:
    given = options(net_file, pictures, out)
    at = given.index("--counts")
    return [*given[:at], *given[at + 3 :], "--count", "4", "--layers", "conv1", "fc7"]


@pytest.mark.slow
def test_layers(main, net_file, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    command_line.run(main, [*few(net_file, pictures, out), "--values", "100", "--control"])
    said = capsys.readouterr().out
    assert "conv1: maps of 14 x 14 averaged over 4 x 4 cells, 96 values" in said
    assert said.splitlines()[-1].endswith(": 16 parts")
    found = json.loads((out / "layer_features.json").read_text())
    assert [each["grid"] for each in found["readings"]] == [[4, 4], None]
    rows = {(row["net"], row["layer"], row["classifier"]): row["mean"] for row in found["table"]}
    assert len(rows) == 8
    assert rows["trained", "conv1", "svm"] > 0.6
    assert rows["trained", "fc7", "svm"] != rows["random weights", "fc7", "svm"]
    assert (out / "layer_features.md").read_text() in said
    assert "44.8 ± 0.7" in said
    with Image.open(out / "layer_features.png") as picture:
        assert min(picture.size) > 400

    # Once more: nothing is left to do, and nothing changes.
    before = (out / "parts.json").read_bytes()
    command_line.run(main, [*few(net_file, pictures, out), "--values", "100", "--control"])
    assert (out / "parts.json").read_bytes() == before
    # Other features are another experiment.
    with pytest.raises(SystemExit):
        command_line.run(main, [*few(net_file, pictures, out), "--values", "200"])
    assert "values 200: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--count", "14"), "too few pictures in blue (14), green (14)"),
        (("--count", "14"), "14 to train with and 1 to test with; ask for 13 a class or fewer\n"),
        (("--values", "5"), "5 values a picture: expected at least the 6 of conv1"),
        (("--classifiers", "tree"), "--classifiers tree: expected svm or softmax"),
        (("--layers", "pool1"), "layer 'pool1': expected one of conv1, "),
    ],
)
def test_what_cannot_be(main, net_file, pictures, tmp_path, capsys, given, message):
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, [*few(net_file, pictures, tmp_path / "out"), *given])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert not (tmp_path / "out").exists()


def test_without_scikit_learn(main, net_file, pictures, tmp_path, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "zfnet_jax.experiments.layer_features", raising=False)
    monkeypatch.delattr("zfnet_jax.experiments.layer_features", raising=False)
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, few(net_file, pictures, tmp_path / "out"))
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "error: scikit-learn is missing, which the SVM comes from: pip install scikit-learn\n"
    )
