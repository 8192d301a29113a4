"""`python -m zfnet_jax.evaluate`, the same as `zfnet-jax evaluate`."""

from zfnet_jax.commands.evaluate import run

if __name__ == "__main__":
    run()
