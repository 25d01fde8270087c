"""A real S3 server, what stands before it, and users of a disk cache."""
