"""Check on drawn pictures, whose objects are known, that occlusion finds the object."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("pointing")
