"""What the machine uses of the host: processes, processors, and the world outside."""
