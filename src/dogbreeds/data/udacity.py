"""The set of the running example: what it should hold, so that a wrong download is found out."""

URL = "https://s3-us-west-1.amazonaws.com/udacity-aind/dog-project/dogImages.zip"
"""1.1 GB."""

BREEDS = 133
PHOTOS = {"train": 6680, "valid": 835, "test": 836}
