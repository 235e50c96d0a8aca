"""Turns the pinned TensorFlow detector into the ONNX model the nodes run.

Pure: files in, files out, no database and no broker. TensorFlow is not needed.
The way through: `pinned.build` reads the file with `graphdef`, `ssd` converts it
(with `backbone` and `anchors`), `storage` halves it, `golden` checks the result.
"""
