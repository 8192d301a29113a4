"""The top-k units of feature maps, found, projected and cut out of pictures."""
