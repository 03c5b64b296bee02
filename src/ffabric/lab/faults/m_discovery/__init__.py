"""M: discovery."""
