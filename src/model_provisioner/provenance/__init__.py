"""Who verified what, when and how: the log, statements and signatures."""
