"""Description and test of this machine and this installation."""
