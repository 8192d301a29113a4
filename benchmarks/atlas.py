"""Peak memory and size of a whole atlas, which must not grow with the number of pictures.

    python benchmarks/atlas.py [--architecture zfnet] [--images 256 2048]

Runs `tools/atlas.py` as a user does, in a process of its own, over so many cuts of scikit-image's
photographs, for all maps of all convolutions; once for each number of pictures. The weights are
random, so that projections are noise, which compresses badly.

Prints the machine and a line for each: the largest resident memory of the process, the bytes of all
files that it made, and the seconds that it took.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from subjects import cuts, random_net
from timing import describe_machine

from zfnet_jax.commands import command_line
from zfnet_jax.networks import weights
from zfnet_jax.zfnet import architecture
from zfnet_jax.zfnet.architecture import Conv

TOOL = Path(__file__).parents[1] / "tools" / "atlas.py"


def main(architecture: str = "zfnet", images: tuple[int, ...] = (256, 2048)) -> None:
    """Measure the memory and the size of an atlas.

    Example: python benchmarks/atlas.py --images 256 2048

    Args:
      architecture: a net's name, "zfnet@128" for another input size.
      images: numbers of pictures, one atlas each.
    """
    run(architecture, images)


def run(name: str, images: tuple[int, ...]) -> None:
    """Prints a line for each number of pictures."""
    arch = architecture.get(name)
    layers = [layer.name for layer in arch if isinstance(layer, Conv)]
    net = random_net(arch, cropped=True)
    print(describe_machine(["jax", "pillow"]))
    for count in images:
        with tempfile.TemporaryDirectory() as place:
            ckpt, pictures, out = (
                Path(place, part) for part in ("net.safetensors", "cuts", "atlas")
            )
            weights.write(net, ckpt)
            pictures.mkdir()
            for number, pixels in enumerate(cuts(net.preprocessing.frame, count)):
                Image.fromarray(pixels).save(pictures / f"{number:06}.png")
            begun = time.perf_counter()
            command = [
                TOOL,
                "--ckpt",
                ckpt,
                "--images",
                pictures,
                "--layers",
                *layers,
                "--out",
                out,
            ]
            child = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            if status:
                raise ValueError(f"atlas over {count} pictures: expected it to end, see above")
            size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
            print(
                f"{count} pictures: peak memory {usage.ru_maxrss * 1024 / 1e9:.2f} GB, "
                f"{size / 1e6:.1f} MB of files, {time.perf_counter() - begun:.0f} s"
            )


if __name__ == "__main__":
    command_line.run(main)
