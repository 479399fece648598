"""What a job leaves behind, and how it is read."""
