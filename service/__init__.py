"""The service: answers are kept, people correct them, and nothing of that is lost."""
