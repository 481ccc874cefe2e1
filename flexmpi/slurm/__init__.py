"""Slurm's language, pure: command lines that are given to it, and text that it prints."""
