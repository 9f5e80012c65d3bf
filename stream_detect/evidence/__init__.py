"""What is kept of an alert: a clip of the original packets, pictures, scores, a report, and a chain of hashes."""
