"""This machine: its processes, its counters, its energy, and tasks in an event loop."""
