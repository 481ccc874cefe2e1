"""A real Slurm on one machine: slurmctld, several slurmd and a private munge in one folder.

Standard library only, so that it runs before anything is installed; nothing here imports flexmpi.
"""
