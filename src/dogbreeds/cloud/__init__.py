"""Everything that happens on AWS. Nothing that an image runs imports this package."""
