"""Computations on pixels: geometry, preprocessing, heatmap, regions, overlay."""
