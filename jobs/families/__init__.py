"""One model family a file; families never see each other."""
