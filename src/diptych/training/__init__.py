"""The loop, what it saves and logs."""
