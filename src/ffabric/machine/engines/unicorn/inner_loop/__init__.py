"""The inner loop of a vCPU under Unicorn, twice: in Python, and in C for speed."""
