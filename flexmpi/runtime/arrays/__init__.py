"""The program's data, and how it moves between ranks."""
