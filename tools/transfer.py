"""Measure what a net is worth on other pictures, as in Tables 4 to 6 and Fig 9."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("transfer")
