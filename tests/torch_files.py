"""Small files that PyTorch wrote: `python tests/torch_files.py` stores them beside this one.

Tests read them where PyTorch is not installed.
"""

from pathlib import Path

import torch

STORED = {form: Path(__file__).with_name(f"torch_{form}.pth") for form in ("archive", "stream")}


def state() -> dict[str, torch.Tensor]:
    """Tensors of every float type and kind of stride, three of them in one storage."""
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return {
        "whole": whole,
        "transposed": whole.T,
        "part": whole[1:3, 2:5],
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "brain": torch.tensor([1.0, 3.0], dtype=torch.bfloat16),
        "double": torch.tensor([[0.1]], dtype=torch.float64),
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.tensor([4.0, 5.0])),
        "steps": torch.tensor([1, 2]),
    }


if __name__ == "__main__":
    for form, path in STORED.items():
        torch.save(state(), path, _use_new_zipfile_serialization=form == "archive")
