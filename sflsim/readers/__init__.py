"""How files of others are read: strictly, whole and before use."""
