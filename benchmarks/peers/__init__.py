"""The libraries people would use instead, measured on the same network and the same photographs."""
