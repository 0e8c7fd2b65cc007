"""Codecs: how the numbers of a message are sent, one file each. No torch at the top."""
