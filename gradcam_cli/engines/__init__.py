"""How a forward pass runs: each engine fulfils `gradcam_cli.network.Engine`."""
