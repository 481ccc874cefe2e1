"""The agent itself, one process a cluster: its socket, its settings, its turn of look, decide and order."""
