"""Data that comes with xnn, so that everything can be tried without a network. See README.md beside this file."""
