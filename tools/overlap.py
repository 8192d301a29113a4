"""List the near-duplicates of two picture collections, to leave them out of training."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("overlap")
