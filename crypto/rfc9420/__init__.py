"""What RFC 9420 has and the product refuses (DESIGN section 4): for conformance and tests only."""
