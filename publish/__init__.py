"""Publishers: each file is one `Publisher` behind `open_publisher`."""
