"""Networks as ordered lists of named blocks; a model is a Config with `block_names` and `build`."""
