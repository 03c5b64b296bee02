"""Where everything lies in physical memory."""
