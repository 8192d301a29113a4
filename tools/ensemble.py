"""Train several nets that differ in their seed, and put their mean beside Table 2's."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("ensemble")
