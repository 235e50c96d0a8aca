"""The bounds of the conversion: what a graph file may hold before it is refused.

The pinned detector has 7975 nodes in 69.7 MB, at most 127 inputs and 7 attributes a
node, and its largest tensor has 6.3 million elements; the bounds leave room above that.
"""

from __future__ import annotations

from typing import Final

GRAPH_BYTES_MAX: Final = 256 * 1024 * 1024
GRAPH_NODES_MAX: Final = 20_000
NODE_INPUTS_MAX: Final = 1_024
NODE_ATTRIBUTES_MAX: Final = 64
TENSOR_DIMENSIONS_MAX: Final = 8
TENSOR_ELEMENTS_MAX: Final = 16 * 1024 * 1024
LIST_ELEMENTS_MAX: Final = 1_024

PHOTO_PIXELS_MAX: Final = 4_000_000
