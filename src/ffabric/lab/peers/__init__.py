"""One payload below our hypervisor and below somebody else's: how many calls each answers."""
