"""Show whether a net knows that pictures show the same part, as in Table 1."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("correspondence")
