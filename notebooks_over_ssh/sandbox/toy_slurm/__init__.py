"""A toy in place of Slurm, to practise on a machine without it: `sbatch`, `squeue`, `scancel`, `srun`, a few nodes.

The sandbox's daemon keeps the queue and runs the jobs as processes of this machine. The programs (static/toy_slurm) ask
it over a Unix socket. The toy measures and limits nothing but time: memory, CPUs and GPUs are numbers.
"""
