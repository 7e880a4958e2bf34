"""What runs in the processes of the sandbox. Nothing here is imported by the server, except to know where it is."""
