"""FF-A manifests of partitions and of the SPMC: read, checked, written."""
