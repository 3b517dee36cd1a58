"""What is done: resolve, fetch, verify, register, hand off. One module a step."""
