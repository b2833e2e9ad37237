"""Launcher for hosts with Open MPI: `mpirun` starts the processes."""
