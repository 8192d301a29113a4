"""Write lists of one half of a data set's classes, to train a net that never sees the others."""

from zfnet_jax.commands import class_split

if __name__ == "__main__":
    class_split.run()
