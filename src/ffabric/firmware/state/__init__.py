"""What calls change: endpoints and their contexts, regions, notifications, rules."""
