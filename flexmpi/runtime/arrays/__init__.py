"""The program's data, and how it moves between ranks: numpy and MPI, no job and no socket."""
