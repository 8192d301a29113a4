"""Train the paper's twelve models and put their errors beside Table 3's."""

from zfnet_jax.__main__ import console

if __name__ == "__main__":
    console("ablation")
