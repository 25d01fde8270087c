"""The examples of proxies before model servers."""
