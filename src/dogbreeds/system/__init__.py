"""What the machine gives: files, processes, resources."""
