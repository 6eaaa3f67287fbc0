"""The trainer's side: the child process that trains one job; it knows no queue."""
