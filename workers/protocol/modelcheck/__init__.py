"""Judges a stranger's ONNX file before any runtime opens it.

`reading` turns bytes into a `Graph` and refuses everything that is not plain data flow;
`shapes` says how large each tensor can get and how much work the graph is; `fitting` holds
a manifest against the graph. Pure, bounded, and the same on the platform and on each node.
"""
