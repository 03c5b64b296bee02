"""From a `SystemSpec` to a booted `System`."""
