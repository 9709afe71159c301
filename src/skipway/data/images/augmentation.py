"""What an augmentation is, and the register of those that there are; `augment` makes them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Generator, Tensor

from skipway.settings.registry import Named, Registry

Shape = tuple[int, int, int]
AUGMENTATIONS: Registry[type[Augmentation]] = Registry("augmentation")


class Augmentation(Named, ABC):
    """A random change of images. Subclasses are frozen dataclasses with keyword-only settings that have defaults.

    They say `class Mine(Augmentation, name="mine")` and define `draw` and `apply`.
    """

    on_pixels: ClassVar[bool] = False
    """Whether it changes pixels, from 0 to 1, before preprocessing, or what preprocessing makes of them."""

    registry = AUGMENTATIONS

    @abstractmethod
    def draw(self, count: int, shape: Shape, generator: Generator) -> Tensor:
        """What is random about `count` images.

        Args:
            count: N.
            shape: (C, H, W) of an image.
            generator: the CPU's.

        Returns:
            A tensor of the CPU, (N, ...), a row an image.

        Raises:
            ValueError: if images of this shape do not suit the settings: too small, say.
        """

    @abstractmethod
    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """The images changed as drawn; a function of these two alone, which waits for no result of the device.

        Args:
            images: float (N, C, H, W), preprocessed, or from 0 to 1 if `on_pixels`; left as they are.
            drawn: N rows that `draw` gave, on the images' device.

        Returns:
            New images of the same shape; from 0 to 1 if `on_pixels`.
        """
