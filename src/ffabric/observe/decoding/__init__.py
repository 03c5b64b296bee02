"""What calls and their payloads say, in words."""
