"""The commands: what they parse, print and draw."""
