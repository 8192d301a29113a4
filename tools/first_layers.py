"""Compare the first layers of nets: their filters, numbers and second-layer maps, as in Fig 6."""

from zfnet_jax.commands import first_layers

if __name__ == "__main__":
    first_layers.run()
