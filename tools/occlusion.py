"""Slide a square over pictures and show what the net says of them, as in Fig 7."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("occlusion")
