"""Ways to run Millrace with real servers. A tool beside the product: no room imports it."""
