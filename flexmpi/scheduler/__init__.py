"""What runs once per cluster: the agent, how it decides, and the resource managers that it reads."""
