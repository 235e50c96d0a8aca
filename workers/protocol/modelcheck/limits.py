"""Bounds on a client's model. Each is far above what image models of today need."""

from __future__ import annotations

from typing import Final

#: Versions of the file format (IR) and of the operators (opset) whose meaning we know.
IR_VERSIONS: Final = range(3, 12)
OPSETS: Final = range(11, 23)

#: Fields of the whole file; a file of tiny fields would take minutes to read.
FIELDS_MAX: Final = 1_000_000
NODES_MAX: Final = 20_000
INITIALIZERS_MAX: Final = 20_000
#: Inputs and outputs of the graph.
ENDS_MAX: Final = 16
NODE_INPUTS_MAX: Final = 512
NODE_ATTRIBUTES_MAX: Final = 32
DIMENSIONS_MAX: Final = 8
#: Elements of a list in an attribute.
LIST_MAX: Final = 4_096
#: Elements of a tensor whose values are followed (shapes, axes, sizes).
VALUES_MAX: Final = 4_096

#: One tensor while the model runs, bytes. The built-in detector makes 480 MB of a picture
#: of 40 megapixels.
TENSOR_BYTES_MAX: Final = 512 * 1024 * 1024
#: All tensors of a run together, bytes, as if none were given back.
TENSORS_BYTES_MAX: Final = 8 * 1024 * 1024 * 1024
#: Multiplications of one run: YOLOv8x at 640 pixels has 1.3e11.
WORK_MAX: Final = 250_000_000_000
