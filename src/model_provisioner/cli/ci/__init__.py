"""What a command tells CI: a JUnit report, annotations of GitHub Actions."""
