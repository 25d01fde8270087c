"""What is here runs in environments of its own, which leave this file out (--noconftest)."""

collect_ignore_glob = ["*.py"]
