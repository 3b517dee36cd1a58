"""What commands take and print."""
