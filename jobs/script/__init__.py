"""A command of the user's own under the slot's orders: its processes, its output, its end."""
