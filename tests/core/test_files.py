from pathlib import Path

import pytest

from zfnet_jax.core.files import read_json


@pytest.mark.parametrize("text", ["", "{", '{"a": nan}', "[" * 100_000])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, text: str):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: expected JSON \("):
        read_json(path)
