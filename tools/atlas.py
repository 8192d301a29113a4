"""Make the feature atlas: the strongest units of every map, projected, as a browsable folder."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("atlas")
