"""Show how features move when pictures are moved, enlarged and turned, as in Fig 5."""

from zfnet_jax.commands import invariance

if __name__ == "__main__":
    invariance.run()
