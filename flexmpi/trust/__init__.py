"""Who is who, and how that is proved: keys, CURVE, munge, and the files they lie in."""
