"""Engines that run forward passes; each implements `gradcam_cli.engines.protocol.Engine`."""
