"""What always holds of a system, as instruments that anybody can attach."""
