"""Programs that measure; they are not part of what is installed."""
