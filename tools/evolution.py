"""Show how feature maps came about during training, as in Fig 4."""

from zfnet_jax.commands import evolution

if __name__ == "__main__":
    evolution.run()
