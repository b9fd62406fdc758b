"""Arithmetic of pixels: geometry, preprocessing, heatmap, regions, overlay."""
