"""Response caches: each file is one `ResponseCache` behind `open_cache`."""
