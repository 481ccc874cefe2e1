"""What a job could be instead of what it is, and what that would cost. Pure."""
