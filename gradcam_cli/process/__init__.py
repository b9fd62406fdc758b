"""What the command line does to its own process: streams, signals, memory. Only the standard library is used."""
