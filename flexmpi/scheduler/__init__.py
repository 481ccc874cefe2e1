"""What runs once per cluster: the cluster's state, the resource managers that tell it, and who decides on it."""
