"""What a command answers: text, or one JSON document."""
