"""One suite per seam, passed by each of its parts."""
