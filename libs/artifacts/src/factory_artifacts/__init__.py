"""Logs, screenshots and videos in S3-compatible storage; redaction; the evidence manifest."""
