import contextlib
import io
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfnet_jax.importers import torch_file

FORMS = ("archive", "stream")
STORED = {form: Path(__file__).with_name(f"torch_{form}.pth") for form in FORMS}
WHOLE = np.arange(24, dtype=np.float32).reshape(4, 6)
EXPECTED = {
    "whole": WHOLE,
    "transposed": WHOLE.T,
    "part": WHOLE[1:3, 2:5],
    "half": np.float16([0.5, -2.0]),
    "brain": np.float32([1.0, 3.0]),
    "double": np.float64([[0.1]]),
    "scalar": np.float32(7.0),
    "empty": np.zeros((0, 3), np.float32),
    "parameter": np.float32([4.0, 5.0]),
}


def read_all(path):
    return {name: each.read() for name, each in torch_file.read(path).items() if name != "steps"}


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_are_read(form):
    found = read_all(STORED[form])
    assert list(found) == list(EXPECTED)
    for name, array in EXPECTED.items():
        np.testing.assert_array_equal(found[name].astype(array.dtype), array, strict=True)
    assert (found["half"].dtype, found["brain"].dtype) == (np.float16, "bfloat16")


@pytest.mark.parametrize("form", FORMS)
def test_as_pytorch_reads_it(form):
    torch = pytest.importorskip("torch")
    theirs, ours = torch.load(STORED[form], weights_only=True), torch_file.read(STORED[form])
    assert theirs.keys() == ours.keys()
    for name, array in read_all(STORED[form]).items():
        np.testing.assert_array_equal(np.float64(array), theirs[name].detach().double().numpy())


@pytest.mark.parametrize("form", FORMS)
def test_the_stored_files_are_what_pytorch_writes(form, tmp_path):
    torch = pytest.importorskip("torch")
    from torch_files import state

    path = tmp_path / "now.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=form == "archive")
    for name, array in read_all(path).items():
        np.testing.assert_array_equal(array, read_all(STORED[form])[name], strict=True)


@pytest.mark.parametrize("form", FORMS)
def test_integers_are_refused_when_they_are_read(form):
    tensor = torch_file.read(STORED[form])["steps"]
    assert tensor.shape == (2,)
    with pytest.raises(ValueError, match="tensor steps of I64: expected one of F64, F32, F16"):
        tensor.read()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_short_is_refused(form, tmp_path):
    whole, path = STORED[form].read_bytes(), tmp_path / "cut.pth"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"expected what torch\.save wrote of a state dict \("):
            torch_file.read(path)


@pytest.mark.parametrize("form", FORMS)
@given(st.data())
def test_a_flipped_byte_is_refused_or_stays_within_the_file(form, tmp_path_factory, data):
    whole = bytearray(STORED[form].read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("flipped") / "net.pth"
    path.write_bytes(whole)
    try:
        tensors = torch_file.read(path)
    except ValueError:
        return
    for tensor in tensors.values():
        with contextlib.suppress(ValueError):
            assert tensor.read().shape == tensor.shape


class Called:
    """Whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Pickler(pickle.Pickler):
    """Which writes a `Stored` as PyTorch names a storage."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Stored) else None


class Stored:
    def __init__(self, *pid):
        self.pid = pid


def archive(path, state, entries):
    """An archive of what PyTorch might have pickled."""
    pickled = io.BytesIO()
    Pickler(pickled, protocol=2).dump(state)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("net/data.pkl", pickled.getvalue())
        for name, content in entries.items():
            file.writestr(f"net/{name}", content)
    return path


@pytest.mark.parametrize("function", [print, eval, getattr, shutil.rmtree])
def test_nothing_else_is_called(function, tmp_path, capsys):
    path = archive(tmp_path / "net.pth", {"weight": Called(function, "1")}, {})
    with pytest.raises(ValueError, match=f"it holds .*{function.__name__}, which is not loaded"):
        torch_file.read(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([1], "names to tensors; it is a list"),
        ({"epoch": 3}, "'epoch' is a int"),
        ({3: 3}, "3 is a int"),
        ({"net": {}}, "'net' is a dict"),
        ({"w": Stored("module", "float", "0", "cpu", 1)}, r"\(ValueError: storage \('module'"),
        ({"w": Stored("storage", "float", "0", "cpu", 1)}, r"storage \('storage', 'float'"),
        ({"w": Stored("storage", "F32", "0", "cpu", 3)}, r"storage 0 of 8 bytes"),
        ({"w": Stored("storage", "F32", "1", "cpu", 2)}, "KeyError"),
        ({"w": Stored("storage", "F32")}, "not enough values"),
    ],
)
def test_what_is_no_state_dict_is_refused(state, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        torch_file.read(archive(tmp_path / "net.pth", state, {"data/0": bytes(8)}))


def test_big_endian_numbers_are_refused(tmp_path):
    path = archive(tmp_path / "net.pth", {}, {"byteorder": b"big"})
    with pytest.raises(ValueError, match="its numbers are big-endian"):
        torch_file.read(path)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (7,), (1,)), (2, (2, 3), (3, 1)), (-1, (2,), (1,)), (5, (2,), (-1,)), (0, (2,), (6,))],
)
def test_a_tensor_outside_its_storage_is_refused(offset, shape, strides):
    storage = torch_file._Storage("F32", "0", 6)
    with pytest.raises(ValueError, match="outside its storage"):
        torch_file._rebuild(storage, offset, shape, strides)
