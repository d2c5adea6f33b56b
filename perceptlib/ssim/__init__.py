"""The structural similarity index (Wang et al. 2004): its window, and the measure with map, distance and exact rays."""

from perceptlib.records.checks import unchecked_range
from perceptlib.ssim.measure import Reference, change_map, components, distance, mean_ssim, ssim_map
from perceptlib.ssim.window import Window

__all__ = ["Reference", "Window", "change_map", "components", "distance", "mean_ssim", "ssim_map", "unchecked_range"]
