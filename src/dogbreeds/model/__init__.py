"""What training makes and serving runs: the artifact, networks, and photos as their input."""
