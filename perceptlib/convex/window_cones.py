"""The window ball of one image as cones and intervals, for overlapping or disjoint windows: P2 of the programs."""

from __future__ import annotations

from torch import Tensor

from perceptlib.convex.window_matrices import Array, window_squares
from perceptlib.ssim import Window
from perceptlib.ssim.measure import C1, C2


class WindowCones:
    """Constraints |G_w r - k G_w x| <= R_w and |m_w - k mu_w| <= half width, with k = e / (1 - e); see `window_ball`.

    Parameters
    ----------
    images : Tensor
        One image, (1, C, H, W), float64.
    window : Window
        Of the overlapping windows.
    size : int or None
        Disjoint uniform squares of this side instead.
    components : {"both", "luminance", "contrast_structure"}
        Which constraints there are. Both: e = 1 - sqrt(1 - budget) each, so that S1 S2 >= 1 - budget; one: e = budget.

    Attributes
    ----------
    squares : Squares
        G with its auxiliary means.
    centres : ndarray
        G x, shape (windows, entries of a window).
    has_luminance, has_contrast : bool
        Which constraints there are.

    Raises
    ------
    ValueError
        A size below 2.
    """

    def __init__(self, images: Tensor, window: Window, size: int | None, components: str) -> None:
        channels, height, width = images.shape[1:]
        self.components = components
        self.has_luminance, self.has_contrast = components != "contrast_structure", components != "luminance"
        if size is not None and size < 2:
            raise ValueError(f"window size {size} is below 2; pass e.g. size=8")
        shape = (channels, height, width)
        self.squares, group = window_squares(shape, window) if size is None else window_squares(shape, size)
        image = images.numpy().ravel()
        self.centres: Array = self.squares.forms(image).reshape(-1, group)
        self._mean: Array = self.squares.lift[image.size :] @ image
        self._variance: Array = (self.centres**2).sum(axis=1)

    @property
    def num_windows(self) -> int:
        return len(self.centres)

    def limits(self, budget: float) -> tuple[float, Array, tuple[Array, Array]]:
        """k, the radii R and the interval (low, high) of the window means, at a budget."""
        loss = 1 - (1 - budget) ** 0.5 if self.components == "both" else budget
        share = loss / (1 - loss)
        radii = (share * (2 * self._variance + C2) + share**2 * self._variance) ** 0.5
        half_width = (share * (2 * self._mean**2 + C1) + share**2 * self._mean**2) ** 0.5
        return share, radii, (share * self._mean - half_width, share * self._mean + half_width)

    def losses(self, perturbation: Tensor) -> Array:
        """True 1 - S (or 1 - S1, or 1 - S2) of every window, shape (windows,)."""
        flat = perturbation.numpy().ravel()
        mean = self.squares.lift[flat.size :] @ flat
        offset = self.squares.forms(flat).reshape(self.centres.shape)
        other_variance = ((offset + self.centres) ** 2).sum(axis=1)
        luminance: Array = mean**2 / (self._mean**2 + (self._mean + mean) ** 2 + C1)
        contrast: Array = (offset**2).sum(axis=1) / (self._variance + other_variance + C2)
        if self.components == "both":
            return luminance + contrast - luminance * contrast
        return luminance if self.has_luminance else contrast

    def largest_loss(self, perturbation: Tensor) -> float:
        """Largest of `losses`."""
        return float(self.losses(perturbation).max())
