"""Which job grows or shrinks: policies, and the picture of the cluster they decide on. Pure, but for the optimiser's solver."""
