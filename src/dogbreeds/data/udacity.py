"""The example data set and its expected contents, to detect a wrong download."""

URL = "https://s3-us-west-1.amazonaws.com/udacity-aind/dog-project/dogImages.zip"
"""1.1 GB."""

BREEDS = 133
PHOTOS = {"train": 6680, "valid": 835, "test": 836}
