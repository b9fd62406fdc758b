"""What did the image classifier look at? Grad-CAM++ and its family for Keras models."""

__version__ = "0.1.0"
