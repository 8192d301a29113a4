"""Make one small file of a trained net, which every tool takes as --ckpt."""

from zfnet_jax.commands import export_weights

if __name__ == "__main__":
    export_weights.run()
