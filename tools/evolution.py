"""Show how feature maps came about during training, as in Fig 4."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("evolution")
