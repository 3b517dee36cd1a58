"""Where bytes come from. A fetcher asks the policy before each host, yields bytes and writes no file."""
