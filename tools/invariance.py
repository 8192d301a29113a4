"""Show how features move when pictures are moved, enlarged and turned, as in Fig 5."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("invariance")
