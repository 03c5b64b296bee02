"""What an endpoint learns and sets up before it talks to others."""
