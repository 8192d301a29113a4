import contextlib
import io
import pickle
import shutil
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from zfnet_jax.networks.importers import torch_file, torch_pickle

FORMS = ("archive", "stream")
STORED = {form: (ROOT / "tests").joinpath(f"torch_{form}.pth") for form in FORMS}
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
    "steps": np.int64([1, 2]),
}


def read_all(path):
    return {name: each.read() for name, each in torch_file.read(path).tensors.items()}


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
    theirs = torch.load(STORED[form], weights_only=True)
    assert theirs.keys() == torch_file.read(STORED[form]).tensors.keys()
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
def test_a_file_cut_short_is_refused(form, tmp_path):
    whole, path = STORED[form].read_bytes(), tmp_path / "cut.pth"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"expected what torch\.save"):
            torch_file.read(path)


@pytest.mark.parametrize("form", FORMS)
@given(st.data())
def test_a_flipped_byte_is_refused_or_stays_within_the_file(form, tmp_path_factory, data):
    whole = bytearray(STORED[form].read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("flipped") / "net.pth"
    path.write_bytes(whole)
    with contextlib.suppress(ValueError):
        for tensor in torch_file.read(path).tensors.values():
            values = tensor.read()
            assert values.shape == tensor.shape
            assert values.size * values.itemsize <= len(whole)


class Name:
    """A function or class by its name alone, which need not be there."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self):
        raise NotImplementedError


class Call:
    """What a function makes of arguments, and the state that it is given then."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = function, arguments, state

    def __reduce__(self):
        return self.reduced


class Storage:
    """A storage, by what PyTorch writes of one."""

    def __init__(self, *pid):
        self.pid = pid


class Pickler(pickle._Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        else:
            super().save(obj, save_persistent_id)


def pickled(state):
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(state)
    return file.getvalue()


def archive(path, state, packed=(), **parts):
    """An archive of what PyTorch might have pickled; `packed` are the parts that are compressed."""
    content = state if isinstance(state, bytes) else pickled(state)
    with zipfile.ZipFile(path, "w") as file:
        for name, part in {"data.pkl": content, "data/0": STORED_BYTES, **parts}.items():
            kind = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
            file.writestr(f"net/{name}", part, kind)
    return path


def stream(path, state, keys=("0",), machine=None, length=6):
    """The form before archives."""
    machine = {"little_endian": True} if machine is None else machine
    heads = (torch_file._MARK, 1001, machine, state, list(keys))
    path.write_bytes(b"".join(map(pickled, heads)) + length.to_bytes(8, "little") + STORED_BYTES)
    return path


VALUES = np.float32([0, 1, 2, 3, 4, 5])
STORED_BYTES = VALUES.tobytes()
FLOATS = Name("torch", "FloatStorage")
SIX = Storage("storage", FLOATS, "0", "cuda:0", 6)
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
TENSOR = Call(REBUILD, SIX, 1, (2, 2), (1, 2), False, OrderedDict())
PARAMETER = Name("torch.nn.parameter", "Parameter")
ORDERED = Name("collections", "OrderedDict")
PAIRS = [[f"key {number}", 1] for number in range(30)]
NAMESPACE = Name("argparse", "Namespace")
SCRIPT = {
    "epoch": 3,
    "best_acc1": TENSOR,
    "arguments": Call(NAMESPACE, state={"lr": 0.1}),
    NAMESPACE: {"class names as keys": None},
    "optimizer": {"state": {0: {"step": 3, "exp_avg": TENSOR}}, "param_groups": [{"lr": 0.1}]},
}
"""What training scripts, and Lightning, save beside a state dict."""


@pytest.mark.parametrize("write", [archive, stream])
@pytest.mark.parametrize(
    "tensor",
    [
        TENSOR,
        Call(Name("torch._utils", "_rebuild_tensor"), SIX, 1, (2, 2), (1, 2)),
        Call(Name("torch._utils", "_rebuild_parameter"), TENSOR, True, OrderedDict()),
        Call(Name("torch._utils", "_rebuild_parameter_with_state"), TENSOR, True, {}, {"note": 1}),
        Call(PARAMETER, TENSOR, state=(True, False, OrderedDict())),
        Call(
            Name("torch._tensor", "_rebuild_from_type_v2"),
            *(REBUILD, Name("torch", "Tensor"), TENSOR.reduced[1], {"note": 1}),
        ),
    ],
)
def test_older_and_rarer_ways_to_write_a_tensor(write, tensor, tmp_path):
    state = Call(Name("collections", "OrderedDict"), [["w", tensor]], state={"_metadata": {}})
    found = read_all(write(tmp_path / "net.pth", state))
    np.testing.assert_array_equal(found["w"], [[1, 3], [2, 4]])


@pytest.mark.parametrize("function", [print, eval, getattr, shutil.rmtree])
def test_nothing_else_is_called(function, tmp_path, capsys):
    path = archive(tmp_path / "net.pth", {"w": Call(function, "1")})
    with pytest.raises(ValueError, match=f"'w' to a .*{function.__name__}, which is not loaded"):
        torch_file.read(path)
    assert capsys.readouterr().out == ""


def test_nothing_is_given_a_state(tmp_path):
    state = (None, {"__name__": "changed"})
    rebuilt = Call(Name("torch._tensor", "_rebuild_from_type_v2"), REBUILD, 0, SIX, state=state)
    with pytest.raises(ValueError, match="expected what"):
        torch_file.read(archive(tmp_path / "net.pth", rebuilt))
    build = pickled(REBUILD)[:-1] + pickled(state)[2:-1] + pickle.BUILD + pickle.STOP
    with pytest.raises(ValueError, match="it is a function"):
        torch_file.read(archive(tmp_path / "net.pth", build))
    assert torch_pickle._tensor.__name__ == "_tensor"


def nested(depth, pair=()):
    for _ in range(depth):
        pair = (pair, pair)
    return pair


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([1], "names to tensors; it is a list"),
        ({"epoch": 3}, "'epoch' to a int"),
        ({3: TENSOR}, "a int to a StridedTensor"),
        ({"net": {}}, "'net' to a dict"),
        ({"w": Storage("module", FLOATS, "0", "cpu", 6)}, "a storage that is not one"),
        ({"w": Storage("storage", "float", "0", "cpu", 6)}, "a storage that is not one"),
        ({"w": Storage("storage", FLOATS, "0", "cpu", 6, ("1", 0, 3))}, "a storage that is not"),
        ({"w": Storage("storage", FLOATS, 0, "cpu", 6)}, "a storage that is not one"),
        ({"w": Storage("storage", FLOATS, "0", "cpu", 3)}, "storage 0 of 24 bytes"),
        ({"w": Storage("storage", FLOATS, "1", "cpu", 6)}, "KeyError"),
        ({"w": Storage("storage", FLOATS)}, "a storage without its five properties"),
        ({"w": Call(REBUILD, {"length": 6}, 0, (6,), (1,))}, "not in its storage"),
        ({"w": Call(REBUILD, SIX, 0, (7,), (1,))}, "not in its storage"),
        ({"w": Call(REBUILD, SIX, 2, (2, 3), (3, 1))}, "not in its storage"),
        ({"w": Call(REBUILD, SIX, -1, (2,), (1,))}, "not in its storage"),
        ({"w": Call(REBUILD, SIX, 5, (2,), (-1,))}, "not in its storage"),
        ({"w": Call(REBUILD, SIX, 0, (10**9, 9216), (0, 0))}, "not in its storage"),
        ({"w": Call(REBUILD, SIX, 0, nested(40), (1, 1))}, "not in its storage"),
        ({"w": Call(REBUILD, SIX, 0, (2,), (1,), False, None, {"neg": True})}, "negated"),
        # A key that is a tuple of two equal tuples, and so on: its hash would take for ever.
        (b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.", "a dictionary whose key is a tuple"),
        (Call(ORDERED, [[nested(60), 1]]), "a dictionary whose key is a tuple"),
        ([Call(ORDERED, PAIRS)] * 1 + [Call(ORDERED, PAIRS) for _ in range(30)], "more entries"),
        ({"w": Call(REBUILD, SIX, 0, (1,) * 65, (1,) * 65)}, "a tensor of 65 axes"),
        (b"\x80\x05\x96" + (6 << 30).to_bytes(8, "little") + b".", "another protocol"),
        (b"\x80\x02\x8b\xff\xff\xff\x0f.", "another protocol"),
        # A place in the memo that would be a gigabyte of memory.
        (b"\x80\x02]r\xff\xff\xff\x0f.", "it is a list"),
    ],
)
def test_what_is_no_state_dict_is_refused(state, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        torch_file.read(archive(tmp_path / "net.pth", state))


@pytest.mark.parametrize("entry", ["state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("write", [archive, stream])
def test_a_state_dict_in_a_training_checkpoint_is_opened(write, entry, tmp_path):
    path = write(tmp_path / "net.pth", {**SCRIPT, entry: {"w": TENSOR}})
    state = torch_file.read(path)
    assert state.entry == entry
    np.testing.assert_array_equal(state.tensors["w"].read(), [[1, 3], [2, 4]])


def test_of_several_state_dicts_the_one_of_the_usual_name_is_opened(tmp_path):
    path, state = tmp_path / "net.pth", {"w": TENSOR}
    whole = {**SCRIPT, "ema": state, "teacher": state}
    with pytest.raises(ValueError, match="state dicts 'ema', 'teacher': expected one"):
        torch_file.read(archive(path, whole))
    assert torch_file.read(archive(path, {**whole, "model": state})).entry == "model"


def test_a_whole_model_is_refused_by_its_class(tmp_path):
    path = archive(tmp_path / "net.pth", Call(Name("my.nets", "Net"), state={"weight": TENSOR}))
    with pytest.raises(ValueError, match=r"a my\.nets\.Net, .*; save its state_dict\(\)"):
        torch_file.read(path)


@pytest.mark.parametrize("part", ["data.pkl", "byteorder", "data/0"])
def test_a_compressed_part_is_refused(part, tmp_path):
    path = archive(tmp_path / "net.pth", {"w": TENSOR}, byteorder=b"little", packed=(part,))
    with pytest.raises(ValueError, match=f"its {part} is compressed"):
        torch_file.read(path)


def test_big_endian_numbers_are_refused(tmp_path):
    path = tmp_path / "net.pth"
    with pytest.raises(ValueError, match="its numbers are big-endian"):
        torch_file.read(archive(path, {"w": TENSOR}, byteorder=b"big"))
    with pytest.raises(ValueError, match="or big-endian numbers"):
        torch_file.read(stream(path, {"w": TENSOR}, machine={"little_endian": False}))


def test_a_stream_with_other_storages_than_its_tensors_is_refused(tmp_path):
    for keys in ((), ("1",), ("0", "1")):
        with pytest.raises(ValueError, match="other storages than its tensors'"):
            torch_file.read(stream(tmp_path / "net.pth", {"w": TENSOR}, keys))
    with pytest.raises(ValueError, match="storage 0 is cut short"):
        torch_file.read(stream(tmp_path / "net.pth", {"w": TENSOR}, length=5))


def test_a_stream_whose_weights_look_like_an_archive_is_one(tmp_path):
    path = stream(tmp_path / "net.pth", {"w": TENSOR})
    # An archive's last mark, in what is not read.
    path.write_bytes(path.read_bytes() + b"PK\5\6" + bytes(18))
    assert list(torch_file.read(path).tensors) == ["w"]
