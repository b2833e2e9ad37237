"""Hosts with Open MPI: `mpirun` starts the processes, which find each other."""
