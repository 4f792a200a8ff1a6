"""The HTTP edge: parses requests, renders answers, calls one operation."""
