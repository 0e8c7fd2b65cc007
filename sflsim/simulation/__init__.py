"""What an algorithm is and may do: the world as a protocol sees it, and its two loops."""
