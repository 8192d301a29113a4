"""Make the feature atlas: the strongest units of every map, projected, as a browsable folder."""

from zfnet_jax.commands import atlas

if __name__ == "__main__":
    atlas.run()
