"""Status up: what several clusters report, as one status on the user's object."""
