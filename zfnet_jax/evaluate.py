"""`python -m zfnet_jax.evaluate`, the same as `zfnet-jax evaluate`."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("evaluate")
