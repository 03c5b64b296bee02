"""Which calls an exception level answers, and where it differs from the specification: no state."""
