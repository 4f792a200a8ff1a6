"""Devices in software: what a passkey or an app would send, and every way of sending it wrong."""
