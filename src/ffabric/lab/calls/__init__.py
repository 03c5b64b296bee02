"""Raw calls: files of registers, executed as the partitions that they name."""
