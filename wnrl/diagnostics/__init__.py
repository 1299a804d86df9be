"""What normalized layers do while they learn."""
