"""Where nodes come from, and the way to the launchers on them."""
