"""Corrections of people."""
