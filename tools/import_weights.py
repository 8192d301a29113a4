"""Make a net of this package's out of another program's file, which every tool takes as --ckpt."""

from zfnet_jax.commands import import_weights

if __name__ == "__main__":
    import_weights.run()
