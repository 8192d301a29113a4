import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zfnet_jax.core.array_file import ArrayFile


@given(st.permutations(range(6)), st.sampled_from([np.float32, np.uint8]))
def test_rows_in_any_order_make_the_array(tmp_path_factory, order, dtype):
    path = tmp_path_factory.mktemp("array") / "rows.npy"
    array = np.random.default_rng(0).integers(0, 256, (6, 3, 2)).astype(dtype)
    file = ArrayFile.create(path, array.shape, dtype)
    for part in (order[:4], order[4:]):
        file.write(part, array[list(part)])
        assert vars(ArrayFile.open(path)) == vars(file)
    np.testing.assert_array_equal(np.load(path), array)
    np.testing.assert_array_equal(file.read(2, 3), array[2:5])


def test_rows_of_two_axes(tmp_path: Path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    file = ArrayFile.create(tmp_path / "rows.npy", array.shape, np.float32, axes=2)
    file.write([4, 1, 0, 2, 3, 5], array.reshape(6, 4)[[4, 1, 0, 2, 3, 5]])
    np.testing.assert_array_equal(np.load(file.path), array)
    np.testing.assert_array_equal(file.read(3, 3), array[1])


def test_what_is_not_written_is_zero(tmp_path: Path):
    file = ArrayFile.create(tmp_path / "rows.npy", (3, 2), np.float32)
    file.write([1], np.ones((1, 2)))
    np.testing.assert_array_equal(np.load(file.path), [[0, 0], [1, 1], [0, 0]])


def test_a_full_disk_is_an_error_not_a_signal(tmp_path: Path):
    script = """
import resource, sys, numpy as np
from pathlib import Path
from zfnet_jax.core.array_file import ArrayFile
file = ArrayFile.create(Path(sys.argv[1]), (4, 1000), np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    file.write([3], np.ones((1, 1000)))
except OSError as error:
    print(f"{error.filename}: {error.strerror}")
"""
    path = tmp_path / "rows.npy"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{path}: File too large\n"), done.stderr
