"""From a batch's pixels and labels to what a net learns from: augmentations, and preprocessing between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.data.images.augmentation import Augmentation, Shape
from skipway.data.images.mixing import Mixing
from skipway.data.images.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class BatchTransform:
    """Augmentations that change pixels, then preprocessing, then the other augmentations, in their order.

    Raises:
        ValueError: if an augmentation needs the pixels' scale, or the number of classes, and it is not given.
    """

    preprocess: Preprocess
    augment: tuple[Augmentation, ...]
    """Those that change pixels come first, as `make_augmentations` sees to."""
    scale: float | None = None
    """The largest value a pixel can have."""
    num_classes: int | None = None

    def __post_init__(self) -> None:
        for augmentation in self.augment:
            if augmentation.on_pixels and self.scale is None:
                raise ValueError(
                    f"augmentation {augmentation.name} changes pixels, so it must be known how large one can be: "
                    "give the stream scale=data.scale."
                )
            if isinstance(augmentation, Mixing) and self.num_classes is None:
                raise ValueError(
                    f"augmentation {augmentation.name} mixes labels, so it must be known how many there are: "
                    "give the stream num_classes=data.num_classes."
                )

    @property
    def mixes(self) -> bool:
        """Whether labels become probabilities."""
        return any(isinstance(augmentation, Mixing) for augmentation in self.augment)

    def __call__(self, pixels: Tensor, labels: Tensor, draws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """A batch of each of R replicas, ready to be learned.

        Args:
            pixels: uint8 (R * b, C, H, W).
            labels: int64 (R, b).
            draws: what each augmentation drew, (R, b, ...).

        Returns:
            Inputs, float32 (R, b, C, H, W), and the labels; probabilities, float32 (R, b, classes), if they are mixed.
        """
        steps = list(zip(self.augment, draws, strict=True))
        x = self.preprocess(self._augmented_pixels(pixels, [step for step in steps if step[0].on_pixels]))
        x = x.view(*labels.shape, *x.shape[1:])
        if self.mixes:
            labels = (labels[..., None] == torch.arange(self.num_classes or 0, device=labels.device)).float()
        for augmentation, drawn in steps:
            if isinstance(augmentation, Mixing):
                x, labels = augmentation.apply(x, drawn), augmentation.apply_to_labels(labels, drawn, _shape(x))
            elif not augmentation.on_pixels:
                x = augmentation.apply(x.flatten(0, 1), drawn.flatten(0, 1)).view_as(x)
        return x, labels

    def _augmented_pixels(self, pixels: Tensor, steps: Sequence[tuple[Augmentation, Tensor]]) -> Tensor:
        """Pixels, uint8 like those that were given, since that is what preprocessing was fitted on."""
        if not steps:
            return pixels
        assert self.scale is not None
        images = pixels / self.scale
        for augmentation, drawn in steps:
            images = augmentation.apply(images, drawn.flatten(0, 1))
        return (images * self.scale).round_().to(torch.uint8)


def _shape(images: Tensor) -> Shape:
    channels, height, width = images.shape[-3:]
    return channels, height, width
