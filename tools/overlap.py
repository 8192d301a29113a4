"""List the near-duplicates of two picture collections, to leave them out of training."""

from zfnet_jax.commands import overlap

if __name__ == "__main__":
    overlap.run()
