"""The deconvnet of any JAX function, as `jax.vjp` is its gradient."""

from zfnet_jax.transform.projection import Rule, count_relus, deconvnet, project_units

__all__ = ["Rule", "count_relus", "deconvnet", "project_units"]
