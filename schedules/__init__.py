"""The day plans that ship with cbi-queue, as package data."""
