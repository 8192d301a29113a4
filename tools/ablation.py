"""Train the paper's twelve models and put their errors beside Table 3's."""

from zfnet_jax.commands import ablation

if __name__ == "__main__":
    ablation.run()
