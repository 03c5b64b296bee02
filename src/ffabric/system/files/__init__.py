"""The files that a description names: devicetrees, images, packages."""
