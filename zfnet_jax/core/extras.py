"""Packages that only some commands need, imported where they are used."""

from importlib import import_module
from typing import Any


def import_extra(package: str, extra: str) -> Any:
    """Imports a package that is installed with an extra of this one.

    Args:
      package: the module's name, such as "onnx" or "sklearn.svm".
      extra: the extra that installs it, such as "import".

    Raises:
      ValueError: it is not installed; the message has the command that installs it.
    """
    top_level = package.partition(".")[0]
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != top_level:
            raise
        raise ValueError(
            f"package {top_level}: expected to be installed; pip install 'zfnet-jax[{extra}]'"
        ) from None
