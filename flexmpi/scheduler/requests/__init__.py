"""What people ask the agent for, by hand, and what they are shown."""
