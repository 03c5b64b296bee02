"""Historical bugs of FF-A software, each a switch of our firmware that is off by default."""
