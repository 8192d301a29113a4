"""Show what a layer's feature maps respond to: projections beside image patches, as in Fig 2."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("deconv")
