"""What training makes and serving runs: artifact, networks, photos as their input."""
