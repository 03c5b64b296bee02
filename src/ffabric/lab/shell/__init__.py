"""A run, or a trace of one, in hand: to go on, to go back, and to ask why."""
