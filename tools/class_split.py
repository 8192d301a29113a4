"""Write lists of one half of a data set's classes, to train a net that never sees the others."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("class-split")
