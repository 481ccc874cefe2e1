"""What is said between processes: bytes to dataclasses and back, with no socket in sight."""
