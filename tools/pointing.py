"""Check on drawn pictures, whose objects are known, that occlusion finds the object."""

from zfnet_jax.commands import pointing

if __name__ == "__main__":
    pointing.run()
