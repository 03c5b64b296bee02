"""The computer: memory, stage-2, PEs, interrupts, time and the engines that execute partitions."""
