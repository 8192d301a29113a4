"""Measure what each layer of a net is worth on other pictures, as in Table 7."""

from zfnet_jax.commands import layer_features

if __name__ == "__main__":
    layer_features.run()
