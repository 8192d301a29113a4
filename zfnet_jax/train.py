"""`python -m zfnet_jax.train`, the same as `zfnet-jax train`."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("train")
