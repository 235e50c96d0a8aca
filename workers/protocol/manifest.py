"""How a picture goes into a model and an answer comes out of it, as its owner says.

The `Contract` travels to the nodes in each assignment, inside what the platform signs, so
no node can be made to read a model in another way. Labels stay on the platform.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from workers.protocol import limits

#: A tensor's name: printable ASCII.
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
ClassId = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,4})$")]
#: A class's name: no control characters, nothing but text.
Label = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=1e-6, le=1e6)]
Part = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]
Side = Annotated[int, Field(ge=8, le=2048)]

SIDE_MAX = limits.IMAGE_SIDE_MAX


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PictureInput(_Strict):
    """The tensor that takes the picture, and how the picture is made to fit.

    A value is (pixel 0..255 * scale - mean) / std, for each channel in the order of
    `channels`; uint8 tensors take the pixels themselves.
    """

    name: Name = "image"
    layout: Literal["NCHW", "NHWC"] = "NHWC"
    dtype: Literal["uint8", "float32", "float16"] = "uint8"
    channels: Literal["RGB", "BGR"] = "RGB"
    #: Pixels the model takes; both null: any size (`resize` is "none").
    width: Side | None = None
    height: Side | None = None
    #: stretch: to the size, sides bent; letterbox: whole, in the middle of `fill`; crop:
    #: the middle `crop_fraction` of it; none: as it is, its longer side at most `side_max`.
    resize: Literal["none", "stretch", "letterbox", "crop"] = "none"
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    fill: Annotated[int, Field(ge=0, le=255)] = 114
    crop_fraction: Annotated[float, Field(gt=0.05, le=1, allow_inf_nan=False)] = 1.0
    side_max: Annotated[int, Field(ge=32, le=SIDE_MAX)] = SIDE_MAX
    #: With "none": the sides are filled up to a multiple of this, right and below.
    multiple_of: Annotated[int, Field(ge=1, le=128)] = 1
    scale: Positive = 1.0
    mean: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _check(self) -> PictureInput:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height are both given or both null")
        if (self.width is None) != (self.resize == "none"):
            raise ValueError("resize is none exactly when width and height are null")
        plain = (self.scale, *self.mean, *self.std) == (1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
        if self.dtype == "uint8" and not plain:
            raise ValueError("a uint8 tensor takes the pixels themselves: no scale, mean, std")
        return self


class Ssd(_Strict):
    """Three tensors: boxes (n, 4), scores (n,), classes (n,); a leading 1 is taken, too."""

    decoder: Literal["ssd"] = "ssd"
    boxes: Name = "boxes"
    scores: Name = "scores"
    classes: Name = "classes"
    #: yxyx: top, left, bottom, right; xyxy: left, top, right, bottom.
    order: Literal["yxyx", "xyxy"] = "yxyx"
    #: relative: 0..1 of the model's picture; pixels: of the model's picture.
    unit: Literal["relative", "pixels"] = "relative"
    #: Added to each class number to give the class id.
    class_offset: Annotated[int, Field(ge=-1, le=1)] = 0
    #: A float32 (1,) input that is fed the score threshold.
    threshold_input: Name | None = None


class Yolo(_Strict):
    """One tensor of raw rows; suppression is the platform's own code.

    A row is centre x, centre y, width, height in pixels of the model's picture, then (with
    `has_objectness`) the objectness, then one score for each class. `rows`: whether a box
    is a row, (1, boxes, values), or a column, (1, values, boxes).
    """

    decoder: Literal["yolo"]
    output: Name
    rows: bool = False
    has_objectness: bool = False
    #: Whether scores are logits that still need a sigmoid.
    logits: bool = False
    iou_max: Annotated[float, Field(gt=0.05, lt=1, allow_inf_nan=False)] = 0.45


class Detr(_Strict):
    """Queries: logits (1, queries, classes) and boxes (1, queries, 4), centre and size 0..1.

    With "softmax" the last class means "no object" and has no label.
    """

    decoder: Literal["detr"]
    logits: Name
    boxes: Name
    activation: Literal["softmax", "sigmoid"] = "softmax"


class Classes(_Strict):
    """One tensor of (1, classes) or (classes,): logits, or probabilities that sum to 1."""

    decoder: Literal["classify"]
    output: Name
    values: Literal["logits", "probabilities"] = "probabilities"


Output = Annotated[Ssd | Yolo | Detr | Classes, Field(discriminator="decoder")]


class Contract(_Strict):
    """What nodes need to use a model."""

    kind: Literal["detect", "classify"] = "detect"
    input: PictureInput = PictureInput()
    output: Output = Ssd()

    @model_validator(mode="after")
    def _check(self) -> Contract:
        if (self.kind == "classify") != isinstance(self.output, Classes):
            raise ValueError("the decoder `classify` goes with the kind `classify`, and only it")
        return self

    @property
    def output_names(self) -> tuple[str, ...]:
        """The tensors that the decoder reads, in its order."""
        match self.output:
            case Ssd():
                return (self.output.boxes, self.output.scores, self.output.classes)
            case Detr():
                return (self.output.logits, self.output.boxes)
            case _:
                return (self.output.output,)

    @property
    def threshold_input(self) -> str | None:
        """The input that is fed the score threshold."""
        return self.output.threshold_input if isinstance(self.output, Ssd) else None


class Manifest(_Strict):
    """All that an owner says of a model: the contract and what its classes are called."""

    name: Label
    version: Annotated[str, StringConstraints(max_length=40, pattern=r"^[ -~]*$")] = ""
    licence: Annotated[str, StringConstraints(max_length=100, pattern=r"^[ -~]*$")] = ""
    kind: Literal["detect", "classify"]
    input: PictureInput
    output: Output
    #: Class id as decimal text -> its name; for `classify`, 0 .. classes - 1.
    labels: Annotated[dict[ClassId, Label], Field(min_length=1, max_length=limits.LABELS_MAX)]

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: dict[str, str]) -> dict[str, str]:
        if len(set(labels.values())) < len(labels):
            raise ValueError("two classes have the same name")
        return labels

    @model_validator(mode="after")
    def _check(self) -> Manifest:
        self.contract  # noqa: B018 -- checks that kind and decoder fit
        return self

    @property
    def contract(self) -> Contract:
        """The part that nodes get."""
        return Contract(kind=self.kind, input=self.input, output=self.output)


#: The contract of the detector that comes with the platform.
DETECTOR = Contract(output=Ssd(threshold_input="score_threshold"))
