"""Measure what each layer of a net is worth on other pictures, as in Table 7."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("layer-features")
