"""A job as plain data, and what follows from it: ranks, nodes, changes, policies. Pure."""
