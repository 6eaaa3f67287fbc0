"""One model family a file; families never import each other."""
