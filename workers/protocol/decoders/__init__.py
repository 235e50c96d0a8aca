"""From a model's tensors to boxes or classes, by the decoder its manifest names.

Pure numpy, the same code on nodes and on the platform. What a model gives is not believed:
wrong shapes, numbers that are none and absurd counts are refused with a code.
"""
