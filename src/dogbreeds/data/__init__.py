"""Photos on disk: folders, inspection, decoded pixels, a drawn sample."""
