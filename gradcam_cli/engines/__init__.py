"""How a forward pass runs: each engine fulfils `gradcam_cli.engines.protocol.Engine`."""
