"""What a call costs besides its answer: it is waited for, read, and the answer is written."""
