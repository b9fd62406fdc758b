"""What this machine and this installation can do, and whether an explanation comes out right."""
