"""Wire formats: the bytes and registers of the specifications, without state or I/O."""
