"""Compare the first layers of nets: their filters, numbers and second-layer maps, as in Fig 6."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("first-layers")
