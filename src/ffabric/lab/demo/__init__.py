"""The system that ``ffabric demo`` runs, as an example to copy from."""
