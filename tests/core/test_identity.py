"""Digests of arrays, of JSON data and of files, and what differs between two identities."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from zfnet_jax.core import identity


def test_the_digest_of_arrays_sees_names_types_shapes_and_values():
    tree = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "b": np.float32(1)}
    same = {"b": jnp.float32(1), "a": {"kernel": jnp.arange(6, dtype=jnp.float32).reshape(2, 3)}}
    of = identity.of_arrays
    assert of(tree) == of(same)
    kernel = tree["a"]["kernel"]
    others = (
        kernel.T,
        kernel.reshape(3, 2),
        kernel.astype(np.float64),
        kernel + 1e-6,
        -kernel,
    )
    for other in others:
        assert of({**tree, "a": {"kernel": other}}) != of(tree)
    assert of({"a": {"bias": kernel}, "b": np.float32(1)}) != of(tree)
    assert of({"a": {"kernel": kernel.T.copy().T}, "b": np.float32(1)}) == of(tree)


def test_the_digest_of_arrays_stays_what_files_hold():
    """Weights that are published hold it."""
    arrays = {"conv1": {"bias": np.zeros(2, np.float32)}}
    assert identity.of_arrays(arrays).startswith("12bf8a7681038a64")


def test_the_digest_of_json_takes_names_that_are_not_utf8():
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    assert identity.of_json([name]) != identity.of_json(["é.png"])


def test_the_digest_of_a_file(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert identity.of_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize("size", [0, 1, 100, 5000, 12000, 100_000])
def test_the_digest_of_a_sample_sees_size_start_middle_and_end(tmp_path: Path, size: int):
    content = np.random.default_rng(0).bytes(size)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        assert identity.of_sample(file) == identity.of_sample(content)
    assert identity.of_sample(content + b"\0") != identity.of_sample(content)
    for position in {0, size // 2, size - 1} if size else ():
        other = bytearray(content)
        other[position] ^= 1
        assert identity.of_sample(bytes(other)) != identity.of_sample(content)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 2}, ("a", 1, 2)),
        ({"a": {"b": [1, {"c": None}]}}, {"a": {"b": [1, {"c": 3}]}}, ("a.b[1].c", None, 3)),
        ({"a": 1}, {}, ("a", 1, None)),
        ({}, {"a": 1}, ("a", None, 1)),
        ([1], [1, 2], ("", [1], [1, 2])),
    ],
)
def test_the_first_value_that_differs_is_named(before, now, expected):
    assert identity.difference(before, now) == expected


def test_what_is_stored_must_be_the_same():
    path = Path("parts.json")
    identity.expect_same({"seed": 1}, {"seed": 1}, path)
    with pytest.raises(ValueError, match=r"^seed 2: parts\.json was started with 1; expected the "):
        identity.expect_same({"seed": 1}, {"seed": 2}, path)
    digests = (identity.of_json([number]) for number in range(2))
    with pytest.raises(ValueError, match=r'"[0-9a-f]{8}\.\.\.".* the same, or another --out$'):
        identity.expect_same(*({"net": digest} for digest in digests), path, "another --out")
