"""Network: what may talk to what. Pure."""
