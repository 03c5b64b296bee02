"""The remote protocol of gdb, for images: run, stop, look, and go back."""
