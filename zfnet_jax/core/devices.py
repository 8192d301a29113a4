"""Devices and hosts: one program over a mesh whose only axis is the batch's."""

import os
import signal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zfnet_jax.core import signals


def processors() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_mesh() -> Mesh:
    """All devices along one axis, "data", process by process: so each reads adjacent rows."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    # Auto, since the default type of an axis changed in jax 0.9.
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole of an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_example(mesh: Mesh) -> NamedSharding:
    """An array cut along its first axis, a part for each device."""
    return NamedSharding(mesh, PartitionSpec("data"))


def rows_of_this_process(batch_size: int) -> slice:
    """Which rows of every batch this process reads.

    Raises:
      ValueError: the batch does not divide into the devices.
    """
    if batch_size % jax.device_count():
        raise ValueError(
            f"batch size {batch_size}: expected a multiple of {jax.device_count()} devices"
        )
    rows = batch_size // jax.process_count()
    return slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)


def is_first_process() -> bool:
    """Whether this is the one process that writes what is there once: metrics, pictures."""
    return jax.process_index() == 0


def to_devices(mesh: Mesh, batch: Any) -> Any:
    """This process's rows of a batch, as part of arrays that span all processes."""
    sharding = by_example(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Host arrays, the same in every process, as whole arrays on every device."""
    sharding = replicated(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(np.shape(x), sharding, np.asarray(x).__getitem__),
        tree,
    )


def compute_dtype(name: str) -> Any:
    """The type that training computes in: "auto" is bfloat16 on accelerators, float32 on a CPU."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(name)


def start(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the other processes of a run; alone, does nothing.

    Args:
      coordinator: HOST:PORT of process 0; "auto" asks the cluster (Slurm, Cloud TPU, ...); None
        for a single process.
      processes: how many there are; None where the cluster says it.
      process: which one this is, from 0; None where the cluster says it.

    Raises:
      ValueError: there is a number of processes without a coordinator.
    """
    if coordinator is None and (processes is not None or process is not None):
        raise ValueError("--processes and --process: expected --coordinator HOST:PORT with them")
    if coordinator is not None:
        address = None if coordinator == "auto" else coordinator
        jax.distributed.initialize(address, processes, process)


def share_stop(step: int) -> None:
    """Notes SIGTERM in all processes after the same step, once one of them was sent it.

    JAX takes SIGTERM over where there are several processes; each asks at every step.
    """
    if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
        signals.note(signal.SIGTERM)


def sum_over_processes(tree: Any) -> Any:
    """The sum of integer arrays over all processes, exact to 64 bits."""
    arrays = jax.tree.map(lambda x: np.asarray(x, np.int64), tree)
    # As bytes, since JAX would cut 64-bit integers to 32.
    parts = jax.tree.map(
        lambda x: multihost_utils.process_allgather(np.frombuffer(x.tobytes(), np.uint8)), arrays
    )
    return jax.tree.map(
        lambda x, part: (
            np.asarray(part)
            .reshape(jax.process_count(), -1)
            .view(np.int64)
            .sum(axis=0)
            .reshape(x.shape)
        ),
        arrays,
        parts,
    )
