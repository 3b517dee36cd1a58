"""What the commands besides `provision` do, without a word of output."""
