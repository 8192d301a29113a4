"""Show whether a net knows that pictures show the same part, as in Table 1."""

from zfnet_jax.commands import correspondence

if __name__ == "__main__":
    correspondence.run()
