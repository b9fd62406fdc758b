"""The setup of the process of the command line: streams, signals, memory. Only the standard library is used."""
