"""What the nodes of an ONNX graph say, checked against the onnx package's own schemas."""

from typing import Any, NoReturn

from zfnet_jax.core.extras import import_extra


def refuse(node: Any, reason: str) -> NoReturn:
    """Raises ValueError with a node's name, or its output's, and its operation."""
    name = node.name or next(iter(node.output), "")
    raise ValueError(f"node {name!r} ({node.op_type}): {reason}")


_LENGTHS = {"kernel_shape": 2, "strides": 2, "dilations": 2, "pads": 4}
"""How many numbers a list has that describes the windows of pictures."""


def read_attributes(node: Any, opset: int) -> dict[str, Any]:
    """A node's attributes by name, those that are written.

    Args:
      node: an `onnx.NodeProto` of ONNX's own domain.
      opset: the version of ONNX's operations that the model uses.

    Raises:
      ValueError: the operation has no such attribute in that version, needs one that is missing, or
        one has another type or length; or inputs are missing.
    """
    onnx = import_extra("onnx", "import")
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        refuse(node, f"expected an operation of version {opset} of ONNX's")
    values = {}
    for attribute in node.attribute:
        name, declared = attribute.name, schema.attributes.get(attribute.name)
        if declared is None:
            refuse(node, f"attribute {name}: expected one of {', '.join(schema.attributes)}")
        if attribute.type != declared.type.value:
            kind = onnx.AttributeProto.AttributeType.Name(attribute.type)
            refuse(node, f"attribute {name} of type {kind}: expected {declared.type.name}")
        values[name] = onnx.helper.get_attribute_value(attribute)
        if name in _LENGTHS and len(values[name]) != _LENGTHS[name]:
            refuse(node, f"attribute {name} {values[name]}: expected {_LENGTHS[name]} numbers")
    for name, declared in schema.attributes.items():
        if declared.required and name not in values:
            refuse(node, f"expected the attribute {name}")
    if len(node.input) < schema.min_input:
        refuse(node, f"{len(node.input)} inputs: expected {schema.min_input} or more")
    return values


def as_written(number: float) -> float:
    """A float32 of the file as the number that was meant: 0.0005, not 0.0005000000237."""
    return float(f"{number:.7g}")
