"""`python -m zfnet_jax.train`, the same as `zfnet-jax train`."""

from zfnet_jax.commands.train import run

if __name__ == "__main__":
    run()
