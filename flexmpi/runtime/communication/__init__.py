"""How a rank speaks: its line to the launcher, its communicators, and the time their calls take."""
