"""Measure what a net is worth on other pictures, as in Tables 4 to 6 and Fig 9."""

from zfnet_jax.commands import transfer

if __name__ == "__main__":
    transfer.run()
