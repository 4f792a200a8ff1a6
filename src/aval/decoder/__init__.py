"""Decodes files of strangers in a process that can do nothing else, and writes anew what they show."""
