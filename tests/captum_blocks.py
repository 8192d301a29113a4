"""What Captum makes of the blocks in `blocks.py`: `python tests/captum_blocks.py` stores it.

PyTorch and Captum are gigabytes, so their answers are kept in captum_blocks.npz; where both are
installed, the tests compute them anew.
"""

from pathlib import Path

import blocks
import numpy as np
import torch
from captum.attr import Deconvolution, GuidedBackprop
from torch import Tensor, nn

STORED = Path(__file__).with_suffix(".npz")
METHODS = {"deconvnet": Deconvolution, "guided": GuidedBackprop}


class Convolution(nn.Module):
    """A convolution of a block, with its batch normalisation where it has one."""

    def __init__(self, block: str, name: str) -> None:
        super().__init__()
        size, inputs, outputs = blocks.SIZES[block][name]
        step = blocks.STRIDES.get(block, {}).get(name, 1)
        kernel, bias, scale, shift = map(torch.from_numpy, blocks.weights(block)[name])
        self.conv = nn.Conv2d(inputs, outputs, size, step, size // 2)
        self.conv.weight.data, self.conv.bias.data = kernel.permute(3, 2, 0, 1), bias
        self.norm = nn.BatchNorm2d(outputs, eps=0) if block == "resnet" else nn.Identity()
        if block == "resnet":
            self.norm.weight.data, self.norm.bias.data = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        """Maps in, maps out."""
        return self.norm(self.conv(x))


def vgg() -> nn.Module:
    """`blocks.vgg`."""
    layers = (Convolution("vgg", "a"), nn.ReLU(), Convolution("vgg", "b"), nn.ReLU())
    return nn.Sequential(*layers, nn.MaxPool2d(2))


class ResNet(nn.Module):
    """`blocks.resnet`."""

    def __init__(self) -> None:
        super().__init__()
        first, second = (Convolution("resnet", name) for name in "ab")
        self.inner = nn.Sequential(first, nn.ReLU(), second)
        self.shortcut, self.relu = Convolution("resnet", "shortcut"), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Pictures in, maps out."""
        return self.relu(self.inner(x) + self.shortcut(x))


class Inception(nn.Module):
    """`blocks.inception`."""

    def __init__(self) -> None:
        super().__init__()

        def branch(*names: str) -> list[nn.Module]:
            pairs = ((Convolution("inception", name), nn.ReLU()) for name in names)
            return [layer for pair in pairs for layer in pair]

        self.branches = nn.ModuleList(
            nn.Sequential(*layers)
            for layers in (
                branch("one"),
                branch("three_in", "three"),
                branch("five_in", "five"),
                [nn.MaxPool2d(3, 1, 1), *branch("pooled")],
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pictures in, maps out."""
        return torch.cat([branch(x) for branch in self.branches], 1)


MODULES = {"vgg": vgg, "resnet": ResNet, "inception": Inception}


def attributions() -> dict[str, np.ndarray]:
    """By "block rule", (2, SIDE, SIDE, 3) float32: the signal at the pixels."""
    pictures = torch.from_numpy(blocks.pictures().transpose(0, 3, 1, 2).copy()).requires_grad_()
    found = {}
    for block, make in MODULES.items():
        row, col, of = blocks.UNITS[block]
        for rule, method in METHODS.items():
            signal = method(make().eval()).attribute(pictures, target=(of, row, col))
            found[f"{block} {rule}"] = signal.detach().numpy().transpose(0, 2, 3, 1)
    return found


if __name__ == "__main__":
    np.savez_compressed(STORED, **attributions())
    print(f"wrote {STORED}")
