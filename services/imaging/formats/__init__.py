"""What microscopes write: every slice file opened by what its first bytes say, and what its metadata tell."""
