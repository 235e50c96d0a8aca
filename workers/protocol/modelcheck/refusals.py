"""Why a model is not taken."""

from __future__ import annotations

from types import MappingProxyType

#: Code -> what it means; docs/howto/bring-your-own-model.md lists the same.
CODES = MappingProxyType(
    {
        "too_large": "The file is larger than a model may be.",
        "not_onnx": "The bytes are not an ONNX model.",
        "too_many_fields": "The file has too many parts to be read.",
        "unknown_field": "The file has a part that the format does not know.",
        "repeated_field": "A part stands twice that may stand once.",
        "bad_ir_version": "The version of the format is not supported.",
        "bad_opset": "The version of the operators is not supported.",
        "foreign_domain": "An operator is not one of the standard ones.",
        "local_functions": "The model brings functions of its own.",
        "training_info": "The model brings parts for training.",
        "external_data": "Weights lie outside the file.",
        "sparse_tensor": "A tensor is sparse.",
        "subgraph": "An operator carries a graph of its own.",
        "control_flow": "The graph has loops or branches.",
        "not_deterministic": "An operator draws random numbers.",
        "varying_quantisation": "Integers are made while running; processors differ in them.",
        "unknown_operator": "The operator is not on the list of allowed ones.",
        "too_many_nodes": "The graph has too many operators.",
        "too_many_tensors": "The graph has too many weights, inputs or outputs.",
        "bad_attribute": "An operator's attribute is missing, doubled or of another type.",
        "bad_tensor": "A weight's bytes do not fit its shape and type.",
        "bad_type": "A tensor's type is not supported.",
        "bad_shape": "Shapes do not fit together.",
        "bad_value": "A size or an axis makes no sense.",
        "name_repeated": "Two tensors have the same name.",
        "name_missing": "An operator uses a tensor that nothing made before it.",
        "shape_unknown": "A tensor's size depends on the picture's content.",
        "tensor_too_large": "A tensor gets too large while the model runs.",
        "memory_too_large": "The tensors together get too large while the model runs.",
        "work_too_large": "One picture takes too many multiplications.",
        "input_missing": "The graph has no such input.",
        "input_type": "The input has another type than the manifest says.",
        "input_shape": "The input does not take pictures as the manifest says.",
        "extra_input": "The graph wants an input that the manifest does not name.",
        "output_missing": "The graph has no such output.",
        "output_type": "The output has a type the decoder cannot read.",
        "output_shape": "The output has not the shape the decoder reads.",
        "labels_mismatch": "The labels do not fit the number of classes.",
    }
)


class Refused(Exception):
    """The model is not taken: `code` is one of CODES, `tensor` the tensor or operator meant."""

    def __init__(self, code: str, detail: str, *, tensor: str = "") -> None:
        assert code in CODES
        super().__init__(f"{tensor}: {detail}" if tensor else detail)
        self.code = code
        self.detail = detail
        self.tensor = tensor
